"""The Haar wavelet: means and details of 2x2 pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.nn.shape_checks import require_image


class Haar(Bijection):
    r"""Every 2x2 block of pixels becomes its mean and three details, in four times the channels.

    .. math:: l = \tfrac14 (a + b + c + d), \quad h = \tfrac12 (a - b + c - d), \quad
              v = \tfrac12 (a + b - c - d), \quad k = \tfrac12 (a - b - c + d)

    for the block :math:`(a, b; c, d)`. All factors :math:`\tfrac12` would be orthonormal, so the mean, which keeps the
    range of the image, gives :math:`\log|\det J| = -\log 2` per value of :math:`l`.

    Shape:
        x: (B, C, H, W), H and W even; z: (B, 4C, H/2, W/2), the C means first, the low band, then the details:
        h of all channels, v and k; log_det: (B,), nats.
    Raises:
        ValueError: If H or W is odd (forward), or the channels are not a multiple of 4 (inverse).
    References:
        Wavelet Flow, Yu, Derpanis & Brubaker 2020, arXiv:2010.13821, section 3.1.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transform pixels to the low band and the details."""
        require_image("Haar", x)
        if x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(f"Haar expects even height and width, got shape {tuple(x.shape)}")
        above, below = x[:, :, 0::2], x[:, :, 1::2]
        sums, differences = above + below, above - below
        z = torch.cat(
            [
                (sums[..., 0::2] + sums[..., 1::2]) / 4,
                (sums[..., 0::2] - sums[..., 1::2]) / 2,
                (differences[..., 0::2] + differences[..., 1::2]) / 2,
                (differences[..., 0::2] - differences[..., 1::2]) / 2,
            ],
            dim=1,
        )
        return z, self._log_det(z)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transform the low band and the details to pixels."""
        require_image("Haar", z)
        if z.shape[1] % 4:
            raise ValueError(f"the inverse of Haar expects a multiple of 4 channels, got shape {tuple(z.shape)}")
        low, horizontal, vertical, diagonal = z.chunk(4, dim=1)
        horizontal, vertical, diagonal = horizontal / 2, vertical / 2, diagonal / 2
        above, below = low + vertical, low - vertical
        add, subtract = horizontal + diagonal, horizontal - diagonal
        blocks = torch.stack([above + add, above - add, below + subtract, below - subtract], dim=2)
        return F.pixel_shuffle(blocks.flatten(1, 2), 2), -self._log_det(z)

    @staticmethod
    def low_band(x: Tensor) -> Tensor:
        """Return the means alone, (B, C, H/2, W/2)."""
        rows = x[:, :, 0::2] + x[:, :, 1::2]
        return (rows[..., 0::2] + rows[..., 1::2]) / 4

    @staticmethod
    def _log_det(z: Tensor) -> Tensor:
        return z.new_full((z.shape[0],), -math.log(2) * (z.shape[1:].numel() // 4))
