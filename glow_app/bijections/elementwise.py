"""Increasing scalar functions with parameters from a network, and the rational-quadratic spline."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.nn.shape_checks import require_positive

# Smallest bin of a spline, relative to its interval, and smallest slope: they keep it invertible in floating point.
MIN_BIN = 1e-3
MIN_SLOPE = 1e-3


class ElementwiseMap(ABC):
    r"""An increasing function :math:`z = f_\theta(x)`, applied elementwise; the identity at :math:`\theta = 0`.

    Shape:
        x, z, log_derivative: any shape (...); parameters: (..., num_parameters).
    """

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Size of :math:`\\theta`."""

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return z and :math:`\log f'_\theta(x)`."""

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Return x and :math:`-\log f'_\theta(x)`."""


@dataclass(frozen=True)
class SplineMap(ElementwiseMap):
    r"""A monotone rational-quadratic spline on :math:`[-b, b]`, the identity outside.

    Between the knots :math:`(x_k, z_k)` with slopes :math:`d_k`, for :math:`\xi = (x - x_k) / (x_{k+1} - x_k)` and
    :math:`s = (z_{k+1} - z_k) / (x_{k+1} - x_k)`:

    .. math:: z = z_k + \frac{(z_{k+1} - z_k)\,(s \xi^2 + d_k \xi (1 - \xi))}
                             {s + (d_{k+1} + d_k - 2 s)\, \xi (1 - \xi)}

    Its inverse is the root of a quadratic. Widths and heights of the bins are softmax, inner slopes softplus, the outer
    two are 1: the function and its derivative are continuous everywhere.

    Args:
        num_bins: Bins :math:`K`; there are :math:`3K - 1` parameters.
        tail_bound: Half the interval, :math:`b`.
    Raises:
        ValueError: If there are too many bins for their smallest width, or the bound is not positive.
    References:
        Neural Spline Flows, Durkan et al. 2019, arXiv:1906.04032, section 3.1.
    """

    num_bins: int = 8
    tail_bound: float = 5.0

    def __post_init__(self) -> None:
        if not 1 <= self.num_bins < 1 / MIN_BIN:
            raise ValueError(f"num_bins is {self.num_bins}; expected 1 to {round(1 / MIN_BIN) - 1}")
        require_positive(tail_bound=self.tail_bound)

    @property
    def num_parameters(self) -> int:
        """Widths, heights and inner slopes."""
        return 3 * self.num_bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the spline."""
        inside = x.abs() < self.tail_bound
        # Outside, any point with finite gradients will do, since they are multiplied by zero.
        clamped = torch.where(inside, x, 0.0)
        left, width, bottom, height, d0, d1 = _bin(clamped, *self._knots(parameters), side=0)
        slope = height / width
        xi = (clamped - left) / width
        z = bottom + height * (slope * xi.square() + d0 * xi * (1 - xi)) / _denominator(xi, slope, d0, d1)
        return torch.where(inside, z, x), torch.where(inside, _log_derivative(xi, slope, d0, d1), 0.0)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the inverse spline."""
        inside = z.abs() < self.tail_bound
        clamped = torch.where(inside, z, 0.0)
        left, width, bottom, height, d0, d1 = _bin(clamped, *self._knots(parameters), side=1)
        slope = height / width
        rise = clamped - bottom
        bend = d1 + d0 - 2 * slope
        a = height * (slope - d0) + rise * bend
        b = height * d0 - rise * bend
        c = -slope * rise
        root = (b.square() - 4 * a * c).clamp_min(0).sqrt()  # rounding alone can make it negative
        # The two forms of the root, each where it has no cancellation: a is positive where b is not.
        over, under = torch.where(b >= 0, -2 * c, root - b), torch.where(b >= 0, b + root, 2 * a)
        xi = (over / under).clamp(0, 1)
        x = torch.where(inside, left + xi * width, z)
        return x, torch.where(inside, -_log_derivative(xi, slope, d0, d1), 0.0)

    def _knots(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the knots' x and z, and the slopes there, each (..., K + 1)."""
        widths, heights, slopes = parameters.split([self.num_bins, self.num_bins, self.num_bins - 1], dim=-1)
        # Shifted so that zero parameters give slope 1.
        inner = MIN_SLOPE + F.softplus(slopes + math.log(math.expm1(1 - MIN_SLOPE)))
        return self._edges(widths), self._edges(heights), F.pad(inner, (1, 1), value=1.0)

    def _edges(self, raw: Tensor) -> Tensor:
        parts = MIN_BIN + (1 - MIN_BIN * self.num_bins) * raw.softmax(-1)
        inner = 2 * self.tail_bound * parts.cumsum(-1)[..., :-1] - self.tail_bound
        return F.pad(F.pad(inner, (1, 0), value=-self.tail_bound), (0, 1), value=self.tail_bound)


def _bin(x: Tensor, xs: Tensor, zs: Tensor, slopes: Tensor, side: int) -> tuple[Tensor, ...]:
    """Return left edge, width, bottom, height and both slopes of the bin of each x (or z, on ``side`` 1)."""
    inner = (xs, zs)[side][..., 1:-1]
    index = (x[..., None] >= inner).sum(-1, keepdim=True)
    pairs = [(knots.gather(-1, index)[..., 0], knots.gather(-1, index + 1)[..., 0]) for knots in (xs, zs, slopes)]
    (x0, x1), (z0, z1), (d0, d1) = pairs
    return x0, x1 - x0, z0, z1 - z0, d0, d1


def _denominator(xi: Tensor, slope: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    return slope + (d1 + d0 - 2 * slope) * xi * (1 - xi)


def _log_derivative(xi: Tensor, slope: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    numerator = slope.square() * (d1 * xi.square() + 2 * slope * xi * (1 - xi) + d0 * (1 - xi).square())
    return numerator.log() - 2 * _denominator(xi, slope, d0, d1).log()
