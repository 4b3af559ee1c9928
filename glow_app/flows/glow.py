"""Glow."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor

from glow_app.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Chain,
    ContextDifference,
    Coupling,
    DiagonalAffine,
    InvertibleConv1x1,
    PixelwiseChain,
    Whitening,
)
from glow_app.flows.class_embedding import ClassEmbedding
from glow_app.flows.context import Context, join
from glow_app.flows.multiscale import MultiscaleFlow, level_shapes
from glow_app.nn import ConditionEncoder, Conditioner, ConvConditioner
from glow_app.nn.class_path import describe_part
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.priors import GaussianPrior

COUPLINGS: dict[str, type[Coupling]] = {"affine": AffineCoupling, "additive": AdditiveCoupling}

# Bound of the conditioners' inputs with a condition; the inputs have about unit variance, and 99.7 % are within it.
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
        coupling: ``"affine"``, or ``"additive"`` (volume preserving, somewhat faster, somewhat worse).
        conditioner: Called with ``(in_channels, out_channels, hidden_channels, context_features)``; returns the network
            of one coupling.
        prior: Called with ``(latent_shape, context_features)``; returns the bijection of the last latent onto N(0, I).
        num_classes: Number of classes of a class-conditional model: a label is embedded into a context, which shifts
            and scales the priors and is an input of the conditioners.
        embedding_features: Size E of the embedding.
        condition_channels: Channels of a picture that conditions the flow, such as a damaged copy of the image; 0 for
            none. A :class:`~glow_app.nn.ConditionEncoder` computes feature maps of it, which shift and scale the priors
            and are inputs of the conditioners; after the first step of each level they shift and scale all channels.
            The encoder also estimates the image, which it is trained to first, and the flow models the difference.
        condition_mask: Whether the last channel of the condition is a mask, positive where the image is missing and
            negative where it is known; known differences, which are small, are then magnified to the size of others.
        condition_features: Channels F of each feature map.
        condition_blocks: Residual blocks of each level of the encoder.
        init: Initialisation of the first actnorm and 1x1 convolution of each level: ``"whiten"``, the
            :class:`~glow_app.bijections.Whitening` of the first batch, or ``"rotation"``, as in the other steps and in
            the paper.
    Shape:
        x: (B, C, H, W); labels: (B,), int64, from 0 to ``num_classes - 1``; condition: (B, condition_channels, H, W),
        real; see :class:`MultiscaleFlow`.
    Raises:
        ValueError: If a size does not fit; the message names the largest valid ``num_levels``.
    References:
        Glow: Generative Flow with Invertible 1x1 Convolutions, Kingma & Dhariwal 2018, arXiv:1807.03039. Conditioning
        on a picture: SRFlow, Lugmayr et al. 2020, arXiv:2006.14200, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        num_levels: int = 3,
        num_steps: int | list[int] = 32,
        hidden_channels: int = 512,
        coupling: Literal["affine", "additive"] = "affine",
        conditioner: Callable[[int, int, int, int], Conditioner] = ConvConditioner,
        prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior,
        num_classes: int | None = None,
        embedding_features: int = 32,
        condition_channels: int = 0,
        condition_mask: bool = False,
        condition_features: int = 64,
        condition_blocks: int = 6,
        init: Literal["whiten", "rotation"] = "whiten",
    ) -> None:
        shapes = level_shapes(image_shape, num_levels)
        steps_of_level = _steps_of_level(num_steps, num_levels)
        require_at_least(1, hidden_channels=hidden_channels)
        if num_classes is not None:
            require_at_least(1, num_classes=num_classes, embedding_features=embedding_features)
        features = [embedding_features if num_classes is not None else 0] * num_levels
        encoder = None
        if condition_mask and condition_channels < 2:
            raise ValueError(f"condition_channels is {condition_channels}; expected a picture's and one for the mask")
        if condition_channels:
            sizes = {"condition_features": condition_features, "condition_blocks": condition_blocks}
            require_at_least(1, condition_channels=condition_channels, **sizes)
            shape = (condition_channels, image_shape[0], num_levels, condition_features, condition_blocks)
            encoder = ConditionEncoder(*shape, has_mask=condition_mask)
            features = [own + number for own, number in zip(encoder.num_features, features, strict=True)]
        require_choice(COUPLINGS, coupling=coupling)
        require_choice(("whiten", "rotation"), init=init)
        coupling_class = COUPLINGS[coupling]
        max_input = MAX_INPUT if condition_channels else None

        def step(channels: int, context_features: int, whitens: bool) -> Bijection:
            half = channels // 2
            network = conditioner(half, coupling_class.outputs_per_channel * half, hidden_channels, context_features)
            mixing = Whitening(channels) if whitens else PixelwiseChain(ActNorm(channels), InvertibleConv1x1(channels))
            return Chain(mixing, coupling_class(channels, network, max_input=max_input))

        steps = [
            [step(c, e, init == "whiten" and number == 0) for number in range(k)]
            for (c, _, _), e, k in zip(shapes, features, steps_of_level, strict=True)
        ]
        if condition_channels:
            for level, (c, _, _), e in zip(steps, shapes, features, strict=True):
                level.insert(1, DiagonalAffine(c, e))
            steps[0].insert(0, ContextDifference(shapes[0][0], has_mask=condition_mask))
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
        self.num_classes, self.hidden_channels = num_classes, hidden_channels
        self.embedding = ClassEmbedding(num_classes, embedding_features) if num_classes is not None else None
        self.condition_channels, self.condition_mask, self.encoder = condition_channels, condition_mask, encoder
        self._arguments: dict[str, object] = {
            "image_shape": list(self.image_shape),
            "num_levels": num_levels,
            "num_steps": num_steps if isinstance(num_steps, int) else list(num_steps),
            "hidden_channels": hidden_channels,
            "coupling": coupling,
            "num_classes": num_classes,
            "embedding_features": embedding_features,
        }
        if condition_channels:
            channels = {"condition_channels": condition_channels, "condition_mask": condition_mask}
            self._arguments |= channels | sizes

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, parts named by class, for exported models.

        Without ``init``, which a model with weights no longer needs.
        """
        conditioner = next(module for module in self.modules() if isinstance(module, Conditioner))
        return self._arguments | {"conditioner": describe_part(conditioner), "prior": describe_part(self.prior)}

    def embed(self, labels: Tensor | None, guidance: float | Sequence[float] = 1.0) -> Tensor | None:
        """Return the context of ``labels``, (B, E), or None for an unconditional model, which ignores them.

        Args:
            labels: (B,), int64.
            guidance: See :class:`ClassEmbedding`; one for all or one per label.
        Raises:
            ValueError: If the model is class-conditional and ``labels`` is missing or out of range; if the guidance is
                negative or not finite, or is not 1 for an unconditional model.
        """
        if self.embedding is not None:
            return self.embedding.context(labels, guidance)
        if any(factor != 1 for factor in (guidance if isinstance(guidance, Sequence) else [guidance])):
            raise ValueError("this model has no classes; leave guidance out")
        return None

    def context(
        self, labels: Tensor | None, condition: Tensor | None = None, guidance: float | Sequence[float] = 1.0
    ) -> Context:
        """Return the context of labels and condition: :meth:`embed` of the labels, or feature maps, one per level.

        Each feature map is the encoder's and then, at every pixel, the class embedding.

        Args:
            labels: (B,), int64.
            condition: (B, condition_channels, H, W), real, of the height and width of the images; or one for all
                labels, (1, condition_channels, H, W).
            guidance: As for :meth:`embed`.
        Raises:
            ValueError: As :meth:`embed`; if there is a condition and the flow takes none, if there is none and it
                needs one, or if it has another number of channels.
        """
        embedded = self.embed(labels, guidance)
        if self.encoder is None:
            if condition is not None:
                raise ValueError("this model takes no condition; leave it out, or use a model trained to restore")
            return embedded
        maps: list[Tensor] = self.encoder(condition)
        return maps if embedded is None else [join(m.expand(len(embedded), -1, -1, -1), embedded) for m in maps]


def _steps_of_level(num_steps: int | Sequence[int], num_levels: int) -> list[int]:
    steps = [num_steps] * num_levels if isinstance(num_steps, int) else list(num_steps)
    if len(steps) != num_levels or min(steps) < 1:
        raise ValueError(
            f"num_steps is {num_steps}; expected a number from 1, or a list of {num_levels}, one per level"
        )
    return steps
