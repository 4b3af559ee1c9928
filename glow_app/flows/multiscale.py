"""The multiscale architecture: squeeze, steps and split per level."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection, Squeeze, without_log_det
from glow_app.flows.context import Context, for_each, join, per_level
from glow_app.flows.level import Level
from glow_app.likelihood import standard_normal_log_density


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
    largest = most_levels(height, width)
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


def most_levels(height: int, width: int) -> int:
    """Return how often both sides can be halved: the largest number of levels for images of this size."""
    return min((side & -side).bit_length() - 1 for side in (height, width))


class MultiscaleFlow(nn.Module):
    r"""Levels of bijections; after each level but the last, half the channels are split off as its latent.

    All latents are kept, and all are whitened: each split half by its split prior given the kept half, the last latent
    by the top prior. So all are N(0, I) under the model.

    .. math:: \log p(x) = \sum_l \log \mathcal N(z_l; 0, I) + \log|\det J|

    Args:
        image_shape: (C, H, W).
        steps: The bijections of each level, on the shapes of :func:`level_shapes`.
        split_priors: A bijection per level but the last, on half its channels, given a context of (B, C/2 + E, H, W).
        prior: Bijection of the last latent onto N(0, I).
        any_size: Whether the prior takes latents of any height and width, and so the flow images whose sides are
            divisible by ``2**num_levels``.
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
        steps: Sequence[Sequence[Bijection]],
        split_priors: Sequence[Bijection],
        prior: Bijection,
        any_size: bool = False,
    ) -> None:
        super().__init__()
        level_shapes(image_shape, len(steps))  # checks the shape
        assert len(split_priors) == len(steps) - 1, "one split prior between two levels"
        channels, height, width = image_shape
        self.image_shape = (channels, height, width)
        self.any_size = any_size
        self.levels = nn.ModuleList(Level(Squeeze(), *bijections) for bijections in steps)
        self.split_priors = nn.ModuleList(split_priors)
        self.prior = prior

    @property
    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """Shape of each latent of an image of ``image_shape``, the finest first."""
        return self.latent_shapes_at(*self.image_shape[1:])

    def latent_shapes_at(self, height: int, width: int) -> list[tuple[int, int, int]]:
        """Return the shape of each latent of an image of this height and width, the finest first.

        Raises:
            ValueError: If the flow has no latents for images of this size.
        """
        channels, *sides = self.image_shape
        if [height, width] != sides and not self.any_size:
            raise ValueError(
                f"this flow is for images of shape (B, {_commas(self.image_shape)}), got height {height} "
                f"and width {width}; with a Gaussian prior it would take other sizes"
            )
        multiple = 2 ** len(self.levels)
        if min(height, width) < 1 or height % multiple or width % multiple:
            raise ValueError(f"height is {height} and width is {width}; expected multiples of {multiple}")
        shapes = level_shapes((channels, height, width), len(self.levels))
        return [(c // 2, h, w) for c, h, w in shapes[:-1]] + shapes[-1:]

    def forward(self, x: Tensor, context: Context = None) -> tuple[list[Tensor], Tensor]:
        """Map images to latents; return ``(latents, log_det)``."""
        latents, log_dets = self._to_latents(x, context, initialize=False)
        return latents, sum(log_dets[1:], log_dets[0])

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Context = None) -> None:
        """Initialise every data-dependent parameter from the batch ``x``, layer by layer."""
        self._to_latents(x, context, initialize=True)

    def inverse(self, latents: Sequence[Tensor], context: Context = None) -> tuple[Tensor, Tensor]:
        """Map latents to images; return ``(x, log_det)``, the log-determinant of this direction."""
        self.check_latents(latents)
        contexts = per_level(context, len(self.levels))
        x, log_det = self.prior.inverse(latents[-1], for_each(contexts[-1], latents[-1]))
        for index, level in reversed(list(enumerate(self.levels))):
            assert isinstance(level, Level)
            x, term = level.inverse(x, contexts[index])
            log_det = log_det + term
            if index > 0:
                split_prior = self.split_priors[index - 1]
                assert isinstance(split_prior, Bijection)
                half, term = split_prior.inverse(latents[index - 1], join(x, contexts[index - 1]))
                log_det = log_det + term
                x = torch.cat([x, half], dim=1)
        return x, log_det

    def encode(self, x: Tensor, context: Context = None) -> list[Tensor]:
        """Return the whitened latents of ``x``, one per level."""
        with without_log_det():
            return self(x, context)[0]

    def decode(self, latents: Sequence[Tensor], context: Context = None) -> Tensor:
        """Return the image of ``latents``; the exact inverse of :meth:`encode`."""
        with without_log_det():
            return self.inverse(latents, context)[0]

    def log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        """Return the log-density of ``x`` in nats, (B,)."""
        latents, log_det = self(x, context)
        return standard_normal_log_density(latents) + log_det

    def level_log_probs(self, x: Tensor, context: Context = None) -> Tensor:
        r"""Return the log-density per level, (B, L), nats, the finest first; the sum is the log-density.

        .. math:: \log \mathcal N(z_l; 0, I) + \log|\det J_l|

        with the log-determinants of the level's steps and of the prior of its latent.
        """
        latents, log_dets = self._to_latents(x, context, initialize=False)
        terms = [standard_normal_log_density([z]) + term for z, term in zip(latents, log_dets, strict=True)]
        return torch.stack(terms, dim=1)

    def _to_latents(self, x: Tensor, context: Context, initialize: bool) -> tuple[list[Tensor], list[Tensor]]:
        if x.ndim != 4 or x.shape[1] != self.image_shape[0]:
            raise ValueError(f"this flow is for images of shape (B, {_commas(self.image_shape)}), got {tuple(x.shape)}")
        self.latent_shapes_at(*x.shape[2:])  # checks the size

        def run(bijection: nn.Module, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
            assert isinstance(bijection, Bijection)
            return bijection.initialize(x, context) if initialize else bijection(x, context)

        latents, log_dets = [], []
        parts = zip(self.levels, [*self.split_priors, None], per_level(context, len(self.levels)), strict=True)
        for level, split_prior, of_level in parts:
            x, log_det = run(level, x, of_level)
            if split_prior is None:
                latent, term = run(self.prior, x, for_each(of_level, x))
            else:
                x, half = x.chunk(2, dim=1)
                latent, term = run(split_prior, half, join(x, of_level))
            latents.append(latent)
            log_dets.append(log_det + term)
        return latents, log_dets

    def check_latents(self, latents: Sequence[Tensor]) -> None:
        """Raise ValueError if there is not one latent per level, of the right shape, for the same number of images."""
        shapes = [tuple(latent.shape[1:]) for latent in latents]
        expected = self.latent_shapes
        if self.any_size and shapes and len(shapes[0]) == 3:
            height, width = shapes[0][1:]
            expected = self.latent_shapes_at(2 * height, 2 * width)
        if shapes != expected:
            raise ValueError(f"this flow has latents of shapes {expected} (without the batch), got {shapes}")
        if any(a.shape[0] != b.shape[0] for a, b in pairwise(latents)):
            sizes = _commas([z.shape[0] for z in latents])
            raise ValueError(f"the latents are of {sizes} images; expected the same number in each level")


def _commas(shape: Sequence[int]) -> str:
    return ", ".join(map(str, shape))
