"""Glow."""

from collections.abc import Callable, Sequence
from typing import Literal

from glow_app.bijections import Bijection, Coupling, DiagonalAffine, Squeeze
from glow_app.conditioning import Conditioning, Unconditional
from glow_app.flows.multiscale import MultiscaleFlow
from glow_app.flows.steps import ConditionerFactory, StepFactory, coupling_class, glow_step, per_level
from glow_app.nn import ConvConditioner
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.priors import GaussianPrior
from glow_app.spec import register

# Bound of the conditioners' inputs with feature maps; the inputs have about unit variance, and 99.7 % are within it.
MAX_INPUT = 3.0


def level_shapes(image_shape: Sequence[int], num_levels: int) -> list[tuple[int, int, int]]:
    """Return (C, H, W) inside each level: after its squeeze, before its split.

    Args:
        image_shape: (C, H, W) of the image, any C from 1, H and W independent.
        num_levels: Number of squeezes.
    Raises:
        ValueError: If the shape is not that of an image or its sides cannot be halved ``num_levels`` times; the message
            names the largest valid ``num_levels``.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape is {tuple(image_shape)}; expected (channels, height, width), each at least 1")
    channels, height, width = image_shape
    largest = min((side & -side).bit_length() - 1 for side in (height, width))  # how often both can be halved
    if largest == 0:
        raise ValueError(
            f"image_shape is {tuple(image_shape)}; height and width must be even: resize or pad the images"
        )
    if not 1 <= num_levels <= largest:
        raise ValueError(
            f"num_levels is {num_levels}; images {width} wide and {height} high can be halved {largest} "
            f"time{'s' if largest > 1 else ''}, so num_levels must be from 1 to {largest}"
        )
    # A squeeze multiplies the channels by 4, and the split before it halves them.
    return [(channels * 2 ** (level + 2), height >> level + 1, width >> level + 1) for level in range(num_levels)]


@register("glow")
class Glow(MultiscaleFlow):
    r"""The multiscale flow of actnorm, invertible 1x1 convolution and coupling.

    Each of the ``num_steps`` steps of a level is actnorm and 1x1 convolution, multiplied into one matrix, then a
    coupling.

    Args:
        image_shape: (C, H, W); any C from 1, H and W independent and divisible by ``2**num_levels``.
        num_levels: Levels L.
        num_steps: Steps K per level; one number for all, or a list, the finest level first.
        hidden_channels: Width of the conditioners.
        coupling: ``"affine"``; ``"additive"`` (volume preserving, somewhat faster, somewhat worse); or another subclass
            of :class:`~glow_app.bijections.Coupling`, or the name that it is registered by.
        conditioner: Called with ``(in_channels, out_channels, hidden_channels, context_features)``; returns the network
            of one coupling.
        prior: Called with ``(latent_shape, context_features)``; returns the bijection of the last latent onto N(0, I).
        conditioning: What is known about an image; its context shifts and scales the priors and is an input of the
            conditioners. Feature maps also shift and scale all channels after the first step of each level.
        init: Initialisation of the first actnorm and 1x1 convolution of each level: ``"whiten"``, the
            :class:`~glow_app.bijections.Whitening` of the first batch, or ``"rotation"``, as in the other steps and in
            the paper.
        step: Called with ``(channels, hidden_channels, context_features)``; returns one step, in place of actnorm, 1x1
            convolution and coupling, which ``coupling``, ``conditioner`` and ``init`` describe.
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
        coupling: str | type[Coupling] = "affine",
        conditioner: ConditionerFactory = ConvConditioner,
        prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior,
        conditioning: Conditioning | None = None,
        init: Literal["whiten", "rotation"] = "whiten",
        step: StepFactory | None = None,
    ) -> None:
        shapes = level_shapes(image_shape, num_levels)
        steps_of_level = per_level(num_steps, num_levels, "num_steps")
        require_at_least(1, hidden_channels=hidden_channels)
        require_choice(("whiten", "rotation"), init=init)
        of_coupling = coupling_class(coupling)
        conditioning = Unconditional() if conditioning is None else conditioning
        first = conditioning.build(image_shape, num_levels)
        has_maps = not isinstance(conditioning.features, int)
        features = (
            [conditioning.features] * num_levels if isinstance(conditioning.features, int) else conditioning.features
        )
        whitens, bound = init == "whiten", MAX_INPUT if has_maps else None

        def new_step(channels: int, context_features: int, number: int) -> Bijection:
            if step is not None:
                return step(channels, hidden_channels, context_features)
            how = of_coupling, conditioner, whitens and number == 0, bound
            return glow_step(channels, hidden_channels, context_features, *how)

        steps = [
            [new_step(c, e, number) for number in range(k)]
            for (c, _, _), e, k in zip(shapes, features, steps_of_level, strict=True)
        ]
        if has_maps:
            for level, (c, _, _), e in zip(steps, shapes, features, strict=True):
                level.insert(1, DiagonalAffine(c, e))
        steps[0] = [*first, *steps[0]]
        last_prior = prior(shapes[-1], features[-1])
        super().__init__(
            image_shape,
            [[Squeeze(), *bijections] for bijections in steps],
            split_priors=[
                DiagonalAffine(c // 2, c // 2 + e) for (c, _, _), e in zip(shapes[:-1], features[:-1], strict=True)
            ],
            prior=last_prior,
            any_size=isinstance(last_prior, GaussianPrior),
            conditioning=conditioning,
        )
        self.hidden_channels = hidden_channels
