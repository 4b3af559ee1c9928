"""Building blocks of the toy densities: their interface, random numbers, mixtures and quadrature."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor


class Toy(ABC):
    """A density in the plane, with exact sampling and evaluation.

    Attributes:
        entropy: Differential entropy, nats.
    """

    entropy: ClassVar[float]

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw ``count`` points, float32 (count, 2)."""
        return self._draw(count, generator).float()

    def log_density(self, points: Tensor) -> Tensor:
        """Return the exact log-density.

        Shape:
            points: (N, 2), any floating-point type; result: float64 (N,), nats.
        """
        return self._log_density(points.double())

    @abstractmethod
    def _draw(self, count: int, generator: Generator) -> Tensor: ...

    @abstractmethod
    def _log_density(self, points: Tensor) -> Tensor: ...


def normal(count: int, generator: Generator) -> Tensor:
    """Draw standard normal points, float64 (count, 2)."""
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def uniform(*shape: int, generator: Generator) -> Tensor:
    """Draw uniform numbers from 0 to 1, float64."""
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def on_circle(angle: Tensor) -> Tensor:
    """Return the points, (N, 2), of the unit circle at angles (N,)."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def in_blocks(function: Callable[[Tensor], Tensor], points: Tensor, columns: int) -> Tensor:
    """Apply a function in blocks of points, so that its (N, ``columns``) intermediate results stay small."""
    return torch.cat([function(block) for block in points.split(max(1, 2**21 // columns))])


def log_mixture(points: Tensor, centres: Tensor, log_weights: Tensor, log_kernel: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Return the log-density of a mixture of M copies of a product kernel.

    .. math:: \log \sum_m w_m\, k(x_1 - c_{m1})\, k(x_2 - c_{m2})

    Shape:
        points: (N, 2); centres: (M, 2); log_weights: (M,); result: (N,).
    """

    def block(points: Tensor) -> Tensor:
        return (log_weights + log_kernel(points[:, None] - centres).sum(-1)).logsumexp(1)

    return in_blocks(block, points, 2 * len(centres))


def log_normal(offset: Tensor, std: float) -> Tensor:
    """Return the log-density of a centred normal variable."""
    return -(offset / std).square() / 2 - math.log(std * math.sqrt(2 * math.pi))


def log_slab(offset: Tensor, width: float, std: float) -> Tensor:
    r"""Return the log-density of the sum of a uniform variable on [0, ``width``] and a centred normal variable.

    .. math:: \log \frac1w \left[\Phi\!\left(\frac{x}{\sigma}\right) - \Phi\!\left(\frac{x - w}{\sigma}\right)\right]
    """
    # Mirrored to the upper tail and scaled by erfcx, so that the difference is accurate and never underflows.
    distance = (offset - width / 2).abs()
    near, far = ((distance + side) / (std * math.sqrt(2)) for side in (-width / 2, width / 2))
    ratio = (near.square() - far.square()).exp()
    tails = torch.special.erfcx(near) - torch.special.erfcx(far) * ratio
    return tails.log() - near.square() - math.log(2 * width)


def quadrature(panels: int) -> tuple[Tensor, Tensor]:
    """Return nodes and log-weights of Gauss-Legendre quadrature on [0, 1], with 16 nodes in each of equal panels."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    positions = (np.arange(panels)[:, None] + (nodes + 1) / 2) / panels
    return torch.from_numpy(positions.ravel()), torch.from_numpy(np.log(np.tile(weights / 2 / panels, panels)))
