"""Other shapes of the same values: reshaping, and space to channels."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.nn.shape_checks import require_image


class Reshape(Bijection):
    r"""The same values in another shape, in row-major order; :math:`\log|\det J| = 0`.

    Args:
        shape: Shape of the data, without the batch.
        latent_shape: Shape of the latent, without the batch.
    Shape:
        x: ``(B, *shape)``; z: ``(B, *latent_shape)``; log_det: (B,), zeros.
    Raises:
        ValueError: If the shapes hold different numbers of values, or the input has another shape.
    """

    def __init__(self, shape: Sequence[int], latent_shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent_shape = tuple(latent_shape)
        if math.prod(self.shape) != math.prod(self.latent_shape):
            raise ValueError(f"shapes {self.shape} and {self.latent_shape} hold different numbers of values")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reshape data to latent."""
        return _reshape(x, self.shape, self.latent_shape)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reshape latent to data."""
        return _reshape(z, self.latent_shape, self.shape)


def _reshape(x: Tensor, shape: tuple[int, ...], new_shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    if tuple(x.shape[1:]) != shape:
        raise ValueError(f"Reshape expects shape {('B', *shape)}, got {tuple(x.shape)}".replace("'B'", "B"))
    # Not len(x), which torch.export would make a constant.
    return x.reshape(x.shape[0], *new_shape), x.new_zeros(x.shape[0])


class Squeeze(Bijection):
    r"""Every 2x2 block of pixels becomes one pixel of four times the channels.

    A permutation, so :math:`\log|\det J| = 0`. Channel c at block offset (dy, dx) goes to channel
    ``c*4 + dy*2 + dx``, the order of ``pixel_unshuffle``.

    Shape:
        x: (B, C, H, W), H and W even; z: (B, 4C, H/2, W/2); log_det: (B,), zeros.
    Raises:
        ValueError: If H or W is odd (forward), or C is not a multiple of 4 (inverse).
    References:
        RealNVP, Dinh et al. 2017, arXiv:1605.08803, section 3.6.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Halve the sides."""
        require_image("Squeeze", x)
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"Squeeze expects even height and width, got shape {tuple(x.shape)}")
        return F.pixel_unshuffle(x, 2), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Double the sides."""
        require_image("Squeeze", z)
        if z.shape[1] % 4:
            raise ValueError(f"the inverse of Squeeze expects a multiple of 4 channels, got shape {tuple(z.shape)}")
        return F.pixel_shuffle(z, 2), z.new_zeros(z.shape[0])
