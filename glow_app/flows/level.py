"""A level of Glow: steps one after another, fused where that is what training needs."""

from collections.abc import Callable
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from glow_app.bijections import (
    ActNorm,
    AffineCoupling,
    Bijection,
    Chain,
    InvertibleConv1x1,
    Memory,
    PixelwiseChain,
    ReversibleChain,
)
from glow_app.bijections.checks import require_image
from glow_app.flows.frozen import FrozenStep
from glow_app.flows.fused import step_pass
from glow_app.flows.weights import StepParts, step_weights
from glow_app.nn import ConvConditioner

__all__ = ["GlowLevel"]


class GlowLevel(ReversibleChain):
    """A chain whose last bijections are steps of Glow, all of one shape.

    Steps of actnorm, 1x1 convolution, and affine coupling with the paper's conditioner are run as wholes, and not as
    the bijections in them, whose hooks are not called: where gradients are wanted and activations are stored, as
    :func:`~glow_app.flows.fused.step_pass`, whose result is theirs up to rounding; and after :meth:`freeze`, where no
    gradients are wanted, as :class:`~glow_app.flows.frozen.FrozenStep`, whose result is theirs to the last bit.

    Args:
        bijections: As of :class:`~glow_app.bijections.ReversibleChain`.
        memory: Likewise.
    Attributes:
        compiled: Whether ``torch.compile`` makes the code of the training pass, where activations are stored.
    Shape:
        As the bijections.
    Raises:
        ValueError: If the input has other channels.
    """

    def __init__(self, *bijections: Bijection, memory: Memory = "store") -> None:
        super().__init__(*bijections, memory=memory)
        self.compiled = False
        self._frozen: list[FrozenStep] = []

    def freeze(self) -> None:
        """Work out once what follows from the weights, which must not change from now on.

        It ends where they are loaded or moved, and with :meth:`thaw`.
        """
        self._frozen = [FrozenStep.of(step) for step in self._steps()]

    def thaw(self) -> None:
        """Work it out in each call again."""
        self._frozen = []

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        if not self._frozen or torch.is_grad_enabled():
            return super().forward(x, context)
        x, log_det = self._before_the_steps(x, context, len(self._frozen), len(self._frozen[0].offset))
        for step in self._frozen:
            x, term = step.forward(x, context)
            log_det = log_det + term
        return x, log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the inverses last to first."""
        if not self._frozen or torch.is_grad_enabled():
            return super().inverse(z, context)
        require_image(type(self).__name__, z, len(self._frozen[0].offset))
        log_det = z.new_zeros(z.shape[0])
        for step in reversed(self._frozen):
            z, term = step.inverse(z, context)
            log_det = log_det + term
        for bijection in reversed(self.bijections[: -len(self._frozen)]):
            assert isinstance(bijection, Bijection)
            z, term = bijection.inverse(z, context)
            log_det = log_det + term
        return z, log_det

    def stored(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last, keeping what the backward pass needs."""
        if self.compiled:
            return _compiled_chain()(self, x, context)
        steps = self._steps()
        if not steps:
            return super().stored(x, context)
        x, log_det = self._before_the_steps(x, context, len(steps), steps[0].norm.num_channels)
        weights = step_weights(steps, x, context)
        num_pixels = x.shape[2:].numel()
        for step, one in zip(steps, weights, strict=True):
            x, term = step_pass(x, one, step.coupling.min_scale)
            log_det = log_det + term
        return x, log_det + num_pixels * torch.stack([one.log_abs_det for one in weights]).sum()

    def _steps(self) -> list[StepParts]:
        """Return the parts of the steps, or none if one of them is of another kind or width."""
        parts = [_parts(bijection) for bijection in self.bijections]
        steps = [one for one in parts if one is not None]
        num_widths = len({len(one.conditioner.second.weight) for one in steps})
        return steps if num_widths == 1 and parts[-len(steps) :] == steps else []

    def _before_the_steps(
        self, x: Tensor, context: Tensor | None, num_steps: int, num_channels: int
    ) -> tuple[Tensor, Tensor]:
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections[:-num_steps]:
            x, term = bijection(x, context)
            log_det = log_det + term
        require_image(type(self).__name__, x, num_channels)
        return x, log_det

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.thaw()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self.thaw()
        super()._load_from_state_dict(*arguments, **options)


@cache
def _compiled_chain() -> Callable[..., tuple[Tensor, Tensor]]:
    # Of the bijections as they are: the compiler fuses more than is fused by hand. One graph for each level.
    return torch.compile(Chain.forward, dynamic=False)


def _parts(step: nn.Module) -> StepParts | None:
    """Return the parts of a step, if the fused pass knows them."""
    if not isinstance(step, Chain) or len(step.bijections) != 2:
        return None
    mixing, coupling = step.bijections
    if not isinstance(mixing, PixelwiseChain) or type(coupling) is not AffineCoupling:
        return None
    conditioner, parts = coupling.conditioner, list(mixing.bijections)
    if type(conditioner) is not ConvConditioner or [type(one) for one in parts] != [ActNorm, InvertibleConv1x1]:
        return None
    return StepParts(mixing, *parts, coupling, conditioner)  # type: ignore[call-arg, arg-type]
