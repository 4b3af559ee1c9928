"""Glow."""

from collections.abc import Callable, Sequence
from typing import Literal

from glow_app.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Chain,
    Coupling,
    DiagonalAffine,
    InvertibleConv1x1,
    PixelwiseChain,
    Whitening,
)
from glow_app.conditioning import Conditioning, Unconditional
from glow_app.flows.multiscale import MultiscaleFlow, level_shapes
from glow_app.nn import Conditioner, ConvConditioner
from glow_app.nn.class_path import class_path, describe_part
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.priors import GaussianPrior

COUPLINGS: dict[str, type[Coupling]] = {"affine": AffineCoupling, "additive": AdditiveCoupling}

# Bound of the conditioners' inputs with feature maps; the inputs have about unit variance, and 99.7 % are within it.
MAX_INPUT = 3.0


class Glow(MultiscaleFlow):
    r"""The multiscale flow of actnorm, invertible 1x1 convolution and coupling.

    Each of the ``num_steps`` steps of a level is actnorm and 1x1 convolution, multiplied into one matrix, then a
    coupling.

    Args:
        image_shape: (C, H, W); any C from 1, H and W independent and divisible by ``2**num_levels``.
        num_levels: Levels L.
        num_steps: Steps K per level; one number for all, or a list, the finest level first.
        hidden_channels: Width of the conditioners.
        coupling: ``"affine"``; ``"additive"`` (volume preserving, somewhat faster, somewhat worse); or a subclass of
            :class:`~glow_app.bijections.Coupling`.
        conditioner: Called with ``(in_channels, out_channels, hidden_channels, context_features)``; returns the network
            of one coupling.
        prior: Called with ``(latent_shape, context_features)``; returns the bijection of the last latent onto N(0, I).
        conditioning: What is known about an image; its context shifts and scales the priors and is an input of the
            conditioners. Feature maps also shift and scale all channels after the first step of each level.
        init: Initialisation of the first actnorm and 1x1 convolution of each level: ``"whiten"``, the
            :class:`~glow_app.bijections.Whitening` of the first batch, or ``"rotation"``, as in the other steps and in
            the paper.
    Shape:
        See :class:`MultiscaleFlow`.
    Raises:
        ValueError: If a size does not fit; the message names the largest valid ``num_levels``.
    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, Kingma & Dhariwal 2018, arXiv:1807.03039. Feature maps:
        SRFlow, Lugmayr et al. 2020, arXiv:2006.14200, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_levels: int = 3,
        num_steps: int | list[int] = 32,
        hidden_channels: int = 512,
        coupling: Literal["affine", "additive"] | type[Coupling] = "affine",
        conditioner: Callable[[int, int, int, int], Conditioner] = ConvConditioner,
        prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior,
        conditioning: Conditioning | None = None,
        init: Literal["whiten", "rotation"] = "whiten",
    ) -> None:
        shapes = level_shapes(image_shape, num_levels)
        steps_of_level = _steps_of_level(num_steps, num_levels)
        require_at_least(1, hidden_channels=hidden_channels)
        if isinstance(coupling, str):
            require_choice(COUPLINGS, coupling=coupling)
        require_choice(("whiten", "rotation"), init=init)
        coupling_class = COUPLINGS[coupling] if isinstance(coupling, str) else coupling
        conditioning = Unconditional() if conditioning is None else conditioning
        first = conditioning.build(image_shape, num_levels)
        has_maps = not isinstance(conditioning.features, int)
        features = (
            [conditioning.features] * num_levels if isinstance(conditioning.features, int) else conditioning.features
        )

        def step(channels: int, context_features: int, whitens: bool) -> Bijection:
            half = channels // 2
            network = conditioner(half, coupling_class.outputs_per_channel * half, hidden_channels, context_features)
            mixing = Whitening(channels) if whitens else PixelwiseChain(ActNorm(channels), InvertibleConv1x1(channels))
            return Chain(mixing, coupling_class(channels, network, max_input=MAX_INPUT if has_maps else None))

        steps = [
            [step(c, e, init == "whiten" and number == 0) for number in range(k)]
            for (c, _, _), e, k in zip(shapes, features, steps_of_level, strict=True)
        ]
        if has_maps:
            for level, (c, _, _), e in zip(steps, shapes, features, strict=True):
                level.insert(1, DiagonalAffine(c, e))
        steps[0] = [*first, *steps[0]]
        last_prior = prior(shapes[-1], features[-1])
        super().__init__(
            image_shape,
            steps,
            split_priors=[
                DiagonalAffine(c // 2, c // 2 + e) for (c, _, _), e in zip(shapes[:-1], features[:-1], strict=True)
            ],
            prior=last_prior,
            any_size=isinstance(last_prior, GaussianPrior),
        )
        self.hidden_channels, self.conditioning = hidden_channels, conditioning
        names = {known: name for name, known in COUPLINGS.items()}
        self._arguments: dict[str, object] = {
            "image_shape": list(self.image_shape),
            "num_levels": num_levels,
            "num_steps": num_steps if isinstance(num_steps, int) else list(num_steps),
            "hidden_channels": hidden_channels,
            "coupling": names.get(coupling_class, class_path(coupling_class)),
        }

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, but for ``init``, which a model with weights does not need."""
        conditioner = next(module for module in self.modules() if isinstance(module, Conditioner))
        parts: dict[str, object] = {"conditioner": describe_part(conditioner), "prior": describe_part(self.prior)}
        if not isinstance(self.conditioning, Unconditional):
            parts["conditioning"] = describe_part(self.conditioning)
        return self._arguments | parts


def _steps_of_level(num_steps: int | Sequence[int], num_levels: int) -> list[int]:
    steps = [num_steps] * num_levels if isinstance(num_steps, int) else list(num_steps)
    if len(steps) != num_levels or min(steps) < 1:
        raise ValueError(f"num_steps is {num_steps}; expected at least 1 for all levels, or a list of {num_levels}")
    return steps
