"""Reshaping as a bijection."""

import math
from collections.abc import Sequence

from torch import Tensor

from glow_app.bijections.bijection import Bijection


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
