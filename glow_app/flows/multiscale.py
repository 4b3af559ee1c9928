"""The multiscale architecture: each level transforms the image and splits a latent off."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, Chain, NormalDensity
from glow_app.conditioning import Conditioning, Unconditional
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn.context import Context, per_level, prior_context
from glow_app.nn.convolutions import inside_torch_func

Runner = Callable[[Chain, Tensor, Tensor | None], tuple[Tensor, Tensor]]


class Level(Chain):
    """The chain of a squeeze and the steps after it, with a runner that evaluates the forward direction in training.

    Args:
        bijections: In the order of the data-to-latent direction.
    Attributes:
        runner: Called, if gradients are enabled, with the level, the input and the context; returns the same as
            :class:`Chain`, up to rounding. ``Chain.forward`` by default, and under transforms of ``torch.func``, which
            other runners do not support; :mod:`glow_app.running` chooses others.
    Shape:
        As the bijections.
    """

    def __init__(self, *bijections: Bijection) -> None:
        super().__init__(*bijections)
        self.runner: Runner = Chain.forward

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the bijections first to last."""
        unfused = not torch.is_grad_enabled() or inside_torch_func()
        return (Chain.forward if unfused else self.runner)(self, x, context)


Part = tuple[Bijection, list[int], Bijection, Tensor | None]  # level, sizes of its split, prior and context


class MultiscaleFlow(NormalDensity, nn.Module):
    r"""Levels of bijections, each on half the sides; after each but the last, channels are split off as its latent.

    All latents are kept, and all are whitened: each split part by its split prior given the kept part, the last latent
    by the top prior. So all are N(0, I) under the model.

    .. math:: \log p(x) = \sum_l \log \mathcal N(z_l; 0, I) + \log|\det J|

    Args:
        image_shape: (C, H, W).
        levels: The bijections of each level, the finest first; together they halve the sides, as a squeeze does.
        split_priors: A bijection per level but the last, on its latent, given a context of (B, kept + E, H, W).
        prior: Bijection of the last latent onto N(0, I).
        any_size: Whether the prior takes latents of any height and width, and so the flow images whose sides are
            divisible by ``2**num_levels``.
        kept: Channels that go on after each level but the last; half of them if None.
        conditioning: What is known about an image, as the context; nothing if None.
    Shape:
        x: (B, C, H, W), real; latents: a list of (B, C_l, H_l, W_l), see :meth:`latent_shapes_at`; context: (B, E) for
        all levels, or a sequence of feature maps, one per level, (B, E_l, H_l, W_l), or (1, E_l, H_l, W_l) for all
        images, or None; log_det, log_prob: (B,), nats.
    Raises:
        ValueError: If the shape does not allow that many levels, or an input has another shape.
    References:
        RealNVP, arXiv:1605.08803, section 3.6; Glow, arXiv:1807.03039, section 3.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        levels: Sequence[Sequence[Bijection]],
        split_priors: Sequence[Bijection],
        prior: Bijection,
        any_size: bool = False,
        kept: Sequence[int] | None = None,
        conditioning: Conditioning | None = None,
    ) -> None:
        super().__init__()
        assert len(split_priors) == len(levels) - 1, "one split prior between two levels"
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        self.any_size = any_size
        self.split_sizes: list[list[int]] = []  # channels that go on after each level, and of its latent
        for number in range(len(levels)):
            channels *= 4
            goes_on = 0 if number == len(levels) - 1 else channels // 2 if kept is None else kept[number]
            self.split_sizes.append([goes_on, channels - goes_on])
            channels = goes_on
        self.levels = nn.ModuleList(Level(*bijections) for bijections in levels)
        self.split_priors = nn.ModuleList(split_priors)
        self.prior = prior
        self.conditioning = Unconditional() if conditioning is None else conditioning

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of images of which the latents, or the coarser latents alone, are those of the flow."""
        return [self.image_shape[1:]]

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Shape of each latent of an image of ``image_shape``, the finest first."""
        return self.latent_shapes_at(*self.image_shape[1:])

    def latent_shapes_at(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the shape of each latent of an image of this height and width, the finest first.

        Raises:
            ValueError: If the flow has no latents for images of this size.
        """
        if (height, width) != self.image_shape[1:] and not self.any_size:
            raise ValueError(
                f"height is {height} and width is {width}; expected those of {self.image_shape}: only a flow with a "
                "Gaussian prior takes other sizes"
            )
        multiple = 2 ** len(self.levels)
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ValueError(f"height is {height} and width is {width}; expected multiples of {multiple}")
        sizes = enumerate(self.split_sizes, start=1)
        return [(channels, height >> level, width >> level) for level, (_, channels) in sizes]

    def check_size(self, size: tuple[int, int] | None) -> None:
        """Raise ValueError unless a height and width are among :attr:`sizes`."""
        if size is not None and size not in self.sizes:
            sizes = ", ".join(f"{width}x{height}" for height, width in self.sizes)
            raise ValueError(f"size is {size[1]}x{size[0]}; expected one of {sizes} for this model")

    def coarsest(self, latents: Sequence[Tensor], size: tuple[int, int] | None) -> Sequence[Tensor]:
        """Return the latents of the levels up to a size, one of :attr:`sizes`; all if it is None.

        :meth:`decode` returns their images of this size: the means of pixels of those of all latents.
        """
        self.check_size(size)
        return latents if size is None else latents[-len(self.latent_shapes_at(*size)) :]

    def forward(self, x: Tensor, context: Context = None) -> tuple[list[Tensor], Tensor]:
        """Map images to latents; return ``(latents, log_det)``."""
        latents, log_dets = self._forward(x, context)
        return latents, sum(log_dets[1:], log_dets[0])

    def inverse(self, latents: Sequence[Tensor], context: Context = None) -> tuple[Tensor, Tensor]:
        """Map latents to images; return ``(x, log_det)``, the log-determinant of this direction."""
        self.check_latents(latents)
        parts = reversed(self._parts(context)[-len(latents) :])
        x, log_det = latents[-1][:, :0], latents[-1].new_zeros(latents[-1].shape[0])
        for (level, _, prior, of_level), latent in zip(parts, reversed(latents), strict=True):
            half, term = prior.inverse(latent, prior_context(x, latent, of_level))
            log_det = log_det + term
            x, term = level.inverse(torch.cat([x, half], dim=1), of_level)
            log_det = log_det + term
        return x, log_det

    def encode(self, x: Tensor, context: Context = None) -> list[Tensor]:
        """Return the whitened latents of ``x``, one per level."""
        latents = []
        for level, sizes, prior, of_level in self._parts_for(x, context):
            x, half = level.encode(x, of_level).split(sizes, dim=1)
            latents.append(prior.encode(half, prior_context(x, half, of_level)))
        return latents

    def decode(self, latents: Sequence[Tensor], context: Context = None) -> Tensor:
        """Return the images of ``latents``; the exact inverse of :meth:`encode`."""
        self.check_latents(latents)
        return self._decode_levels(latents[-1][:, :0], latents, self._parts(context)[-len(latents) :])

    @staticmethod
    def _decode_levels(x: Tensor, latents: Sequence[Tensor], parts: Sequence[Part]) -> Tensor:
        for (level, _, prior, of_level), latent in zip(reversed(parts), reversed(latents), strict=True):
            half = prior.decode(latent, prior_context(x, latent, of_level))
            x = level.decode(torch.cat([x, half], dim=1), of_level)
        return x

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None, generator: torch.Generator | None = None) -> None:
        """Initialise every data-dependent parameter from the batch ``x``, layer by layer.

        Args:
            generator: Source of random numbers, by :func:`~glow_app.seeding.draw_rows` only, if there are any.
        """
        self._initialize_levels(x, self._parts_for(x, context))

    @staticmethod
    def _initialize_levels(x: Tensor, parts: Sequence[Part]) -> None:
        for level, sizes, prior, of_level in parts:
            x, half = level.initialize(x, of_level)[0].split(sizes, dim=1)
            prior.initialize(half, prior_context(x, half, of_level))

    def detail_log_prob(
        self, x: Tensor, context: Context = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the part of ``x`` that :meth:`coarse_log_prob` takes, and the log-density of the rest given it, (B,).

        Here that part is all of ``x``; flows whose levels train on windows of an image estimate the rest from these.
        """
        return x, x.new_zeros(x.shape[0])

    def coarse_log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        """Return the log-density of the part of an image that :meth:`detail_log_prob` leaves, (B,), nats."""
        return self.log_prob(x, context)

    def level_log_probs(self, x: Tensor, context: Context = None) -> Tensor:
        r"""Return the log-density per level, (B, L), nats, the finest first; the sum is the log-density.

        .. math:: \log \mathcal N(z_l; 0, I) + \log|\det J_l|

        with the log-determinants of the level's steps and of the prior of its latent.
        """
        levels = zip(*self._forward(x, context), strict=True)
        return torch.stack([standard_normal_log_density([z]) + log_det for z, log_det in levels], dim=1)

    def _forward(self, x: Tensor, context: Context) -> tuple[list[Tensor], list[Tensor]]:
        """Return the latent and the log-determinant of each level."""
        latents, log_dets = [], []
        for level, sizes, prior, of_level in self._parts_for(x, context):
            x, log_det = level(x, of_level)
            x, half = x.split(sizes, dim=1)
            latent, term = prior(half, prior_context(x, half, of_level))
            latents.append(latent)
            log_dets.append(log_det + term)
        return latents, log_dets

    def _parts(self, context: Context) -> list[Part]:
        """Return each level, the sizes of its split, the prior of its latent, and its context, the finest first."""
        priors, contexts = [*self.split_priors, self.prior], per_level(context, len(self.levels))
        return list(zip(self.levels, self.split_sizes, priors, contexts, strict=True))  # type: ignore[arg-type]

    def _parts_for(self, x: Tensor, context: Context) -> list[Part]:
        """Return the parts of the levels for images ``x``, once they are checked."""
        if x.ndim != 4 or x.shape[1] != self.image_shape[0]:
            raise ValueError(
                f"expected images of shape (B, C, H, W), (C, H, W) {self.image_shape}, got {tuple(x.shape)}"
            )
        return self._parts(context)[-len(self.latent_shapes_at(*x.shape[2:])) :]

    def check_latents(self, latents: Sequence[Tensor]) -> None:
        """Raise ValueError if there is not one latent per level, of the right shape, for the same number of images."""
        shapes = [tuple(latent.shape) for latent in latents]
        sides = [2 * side for side in shapes[0][2:]] if shapes and len(shapes[0]) == 4 else self.image_shape[1:]
        expected = self.latent_shapes_at(*sides)
        if not shapes or shapes != [(*shapes[0][:1], *shape) for shape in expected]:
            raise ValueError(f"expected latents of shapes (B, C, H, W), (C, H, W) {expected}, got {shapes}")
