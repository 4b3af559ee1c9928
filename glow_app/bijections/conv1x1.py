"""Invertible 1x1 convolution, LU-decomposed."""

import torch
from torch import Tensor, nn

from glow_app.bijections.pixelwise import PixelwiseAffine

__all__ = ["InvertibleConv1x1", "lu_product"]


class InvertibleConv1x1(PixelwiseAffine):
    r"""A learned mixing of the channels, a generalised permutation.

    .. math::
        W = P L \left(U + \mathrm{diag}(\mathrm{sign} \odot e^{a})\right), \qquad
        \log|\det J| = H W \sum_c a_c

    P is a fixed permutation, L unit lower triangular, U strictly upper triangular, the signs fixed. No determinant
    and no inverse is computed in training. The inverse direction solves two triangular systems of size C in float64,
    once a call and not once a pixel.

    Starts as a random rotation, so its log-determinant starts at 0.

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
        rotation = torch.linalg.qr(torch.randn(num_channels, num_channels, dtype=torch.float64)).Q
        p, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        dtype = torch.get_default_dtype()
        # W = P L U means row i of W is row permutation[i] of L U.
        self.register_buffer("permutation", p.argmax(dim=1))
        self.register_buffer("sign", diagonal.sign().to(dtype))
        self.lower = nn.Parameter(lower.tril(-1).to(dtype))
        self.upper = nn.Parameter(upper.triu(1).to(dtype))
        self.log_abs = nn.Parameter(diagonal.abs().log().to(dtype))

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`W`, 0 and :math:`\sum a`."""
        weight = lu_product(self.lower, self.upper, self.log_abs, self.sign, self.permutation)
        return weight, weight.new_zeros(self.num_channels), self.log_abs.sum()

    def inverse_affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`W^{-1} = \tilde U^{-1} L^{-1} P^T`, 0 and :math:`-\sum a`."""
        # MPS has no float64 and no need for it to be fast: C is small.
        device = torch.device("cpu") if self.lower.device.type == "mps" else self.lower.device
        numbers = (self.lower, self.upper, self.log_abs, self.sign)
        lower, upper = _factors(*(tensor.to(device=device, dtype=torch.float64) for tensor in numbers))
        identity = torch.eye(self.num_channels, dtype=torch.float64, device=device)
        half = torch.linalg.solve_triangular(lower, identity, upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(upper, half, upper=True)
        weight = inverse[:, self.permutation.to(device)].to(self.lower)
        return weight, weight.new_zeros(self.num_channels), -self.log_abs.sum()


def lu_product(lower: Tensor, upper: Tensor, log_abs: Tensor, sign: Tensor, permutation: Tensor) -> Tensor:
    """Return the matrix of the parameters of :class:`InvertibleConv1x1`, or those of several, stacked.

    Args:
        lower: L, of which what lies below the diagonal counts.
        upper: U, of which what lies above the diagonal counts.
        log_abs: The logarithms :math:`a` of the diagonal's absolute values.
        sign: Of the diagonal.
        permutation: Which row of :math:`L U` each row of W is.
    Shape:
        lower, upper, and the result: (..., C, C); the others: (..., C).
    """
    unit_lower, full_upper = _factors(lower, upper, log_abs, sign)
    return torch.take_along_dim(unit_lower @ full_upper, permutation[..., None], dim=-2)


def _factors(lower: Tensor, upper: Tensor, log_abs: Tensor, sign: Tensor) -> tuple[Tensor, Tensor]:
    identity = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return lower.tril(-1) + identity, upper.triu(1) + torch.diag_embed(sign * log_abs.exp())
