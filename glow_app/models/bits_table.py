"""Bits of images by draw of the dequantisation noise, class and level."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.nn.precision import widen


@dataclass(frozen=True)
class BitsTable:
    r"""Bits of B images in K draws of dequantisation noise, under M classes, at L levels.

    A draw has the same noise under every class, so that classes are compared on the same dequantised image.

    Args:
        bits: (K, M, B, L), bits/dim; M is 1 if the classes are given or there are none.
        num_dims: The dimension :math:`D` of an image.
    """

    bits: Tensor
    num_dims: int

    @property
    def bits_per_dim(self) -> Tensor:
        r"""Bits/dim of the mean density over draws and classes, (B,).

        .. math:: -\frac{1}{D} \log_2 \frac{1}{K M} \sum_{k=1}^K \sum_{c=1}^M 2^{-D \sum_l b_{kcl}}
        """
        unit = self.num_dims * math.log(2)
        nats = unit * widen(self.bits.sum(-1)).flatten(0, 1)
        return ((math.log(len(nats)) - torch.logsumexp(-nats, dim=0)) / unit).to(self.bits.dtype)

    @property
    def likeliest(self) -> Tensor:
        """The number of the most likely class in the first draw, (B,), int64; independent of the number of draws."""
        return self.bits[0].sum(-1).argmin(0)

    @property
    def level_bits(self) -> Tensor:
        """Bits/dim of each level in the first draw under :attr:`likeliest`, (B, L)."""
        rows = torch.arange(self.bits.shape[2], device=self.bits.device)
        return self.bits[0, self.likeliest, rows]
