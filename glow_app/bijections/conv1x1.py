"""Invertible 1x1 convolution, LU-decomposed."""

import torch
from torch import Tensor, nn

from glow_app.bijections.pixelwise import PixelwiseAffine


class InvertibleConv1x1(PixelwiseAffine):
    r"""A learned mixing of the channels, a generalised permutation.

    .. math::
        W = P L \left(U + \mathrm{diag}(\mathrm{sign} \odot e^{a})\right), \qquad
        \log|\det J| = H W \sum_c a_c

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular, the signs fixed. A likelihood
    needs no determinant and no inverse. The inverse direction solves two triangular systems of size C in float64 per
    call, not per pixel.

    Starts as a random orthogonal matrix, so its log-determinant starts at 0.

    Args:
        num_channels: Channels :math:`C`.
    Shape:
        x, z: (B, C, H, W); log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.2.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels)
        size = (num_channels, num_channels)
        self.register_buffer("permutation", torch.zeros(num_channels, dtype=torch.int64))
        self.register_buffer("sign", torch.zeros(num_channels))
        self.lower, self.upper = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(size))
        self.log_abs = nn.Parameter(torch.zeros(num_channels))
        if not self.lower.is_meta:  # arithmetic on the meta device takes seconds to import
            self.set_weight(torch.linalg.qr(torch.randn(size, dtype=torch.float64)).Q)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Take W from an invertible matrix, (C, C), in float64."""
        p, lower, upper = torch.linalg.lu(weight)
        diagonal = upper.diagonal()
        # W = P L U means row i of W is row permutation[i] of L U.
        self.permutation.copy_(p.argmax(dim=1))
        self.sign.copy_(diagonal.sign())
        self.lower.copy_(lower.tril(-1))
        self.upper.copy_(upper.triu(1))
        self.log_abs.copy_(diagonal.abs().log())

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`W`, 0 and :math:`\sum a`."""
        weight = lu_product(self.lower, self.upper, self.log_abs, self.sign, self.permutation)
        return weight, weight.new_zeros(self.num_channels), self.log_abs.sum()

    def inverse_affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`W^{-1} = \tilde U^{-1} L^{-1} P^T`, 0 and :math:`-\sum a`."""
        # MPS has no float64; C is small, so the CPU will do.
        device = torch.device("cpu") if self.lower.device.type == "mps" else self.lower.device
        numbers = (self.lower, self.upper, self.log_abs, self.sign)
        lower, upper = _factors(*(tensor.to(device).double() for tensor in numbers))
        identity = torch.eye(self.num_channels, dtype=torch.float64, device=device)
        half = torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(upper, half, upper=True)
        weight = inverse[:, self.permutation.to(device)].to(self.lower)
        return weight, weight.new_zeros(self.num_channels), -self.log_abs.sum()


def lu_product(lower: Tensor, upper: Tensor, log_abs: Tensor, sign: Tensor, permutation: Tensor) -> Tensor:
    """Return W from the parameters of :class:`InvertibleConv1x1`, for one or, with leading dimensions, several.

    Args:
        lower: L; entries on and above the diagonal are ignored.
        upper: U; entries on and below the diagonal are ignored.
        log_abs: Logarithms :math:`a` of the diagonal's absolute values.
        sign: Signs of the diagonal.
        permutation: Row i of W is row ``permutation[i]`` of :math:`L U`.
    Shape:
        lower, upper, and the result: (..., C, C); the others: (..., C).
    """
    unit_lower, full_upper = _factors(lower, upper, log_abs, sign)
    return torch.take_along_dim(unit_lower @ full_upper, permutation[..., None], dim=-2)


def _factors(lower: Tensor, upper: Tensor, log_abs: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return lower.tril(-1) + identity, upper.triu(1) + torch.diag_embed(sign * log_abs.exp())
