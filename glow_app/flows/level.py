"""A level of Glow: steps one after another, fused where that is what training needs."""

import torch
from torch import Tensor, nn

from glow_app.bijections import (
    ActNorm,
    AffineCoupling,
    Chain,
    InvertibleConv1x1,
    PixelwiseChain,
    ReversibleChain,
)
from glow_app.bijections.checks import require_image
from glow_app.flows.fused import StepParts, step_pass, step_weights
from glow_app.nn import ConvConditioner

__all__ = ["GlowLevel"]


class GlowLevel(ReversibleChain):
    """A chain whose last bijections are steps of Glow, all of one shape.

    Where gradients are wanted and activations are stored, the steps run as :func:`~glow_app.flows.fused.step_pass`,
    if they are what that knows: actnorm, 1x1 convolution, and affine coupling with the paper's conditioner. The result
    is that of the bijections themselves up to rounding; hooks of theirs are not called.

    Args:
        bijections: As of :class:`~glow_app.bijections.ReversibleChain`.
        memory: Likewise.
    Shape:
        As the bijections.
    Raises:
        ValueError: If the input has other channels.
    """

    def stored(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last, keeping what the backward pass needs."""
        parts = [_parts(bijection) for bijection in self.bijections]
        steps = [one for one in parts if one is not None]
        if not steps or parts[-len(steps) :] != steps or torch.compiler.is_compiling():
            return super().stored(x, context)
        log_det = x.new_zeros(x.shape[0])
        for bijection in self.bijections[: -len(steps)]:
            x, term = bijection(x, context)
            log_det = log_det + term
        require_image(type(self).__name__, x, steps[0].norm.num_channels)
        weights = step_weights(steps, context)
        num_pixels = x.shape[2:].numel()
        for step, one in zip(steps, weights, strict=True):
            x, term = step_pass(x, one, step.coupling.min_scale)
            log_det = log_det + term
        return x, log_det + num_pixels * torch.stack([one.log_abs_det for one in weights]).sum()


def _parts(step: nn.Module) -> StepParts | None:
    """Return the parts of a step, if the fused pass knows them."""
    if not isinstance(step, Chain) or len(step.bijections) != 2:
        return None
    mixing, coupling = step.bijections
    if not isinstance(mixing, PixelwiseChain) or not isinstance(coupling, AffineCoupling):
        return None
    conditioner, parts = coupling.conditioner, list(mixing.bijections)
    if type(conditioner) is not ConvConditioner or [type(one) for one in parts] != [ActNorm, InvertibleConv1x1]:
        return None
    return StepParts(*parts, coupling, conditioner)  # type: ignore[call-arg, arg-type]
