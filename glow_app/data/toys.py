r"""Six toy densities in the plane, with their entropies, and three of them with their exact densities.

Shapes and scales are those of FFJORD's published toy code, so that results are comparable; each function documents its
departures. A model's expected negative log-likelihood on new points is the entropy plus the Kullback-Leibler
divergence of the model from the toy, so the entropy is a lower bound.

References:
    FFJORD, Grathwohl et al. 2019, arXiv:1810.01367; github.com/rtqichen/ffjord, ``lib/toy_data.py``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from glow_app.data.image_set import BatchedSet
from glow_app.data.splits import Split, check_split
from glow_app.messages import closest
from glow_app.seeding import step_generator

_COUNTS: dict[Split, int] = {"train": 50_000, "validation": 5_000, "test": 20_000}


@dataclass(frozen=True)
class Toy:
    """A density in the plane.

    Args:
        draw: Draws points, float64 (count, 2).
        entropy: Differential entropy, nats; computed by quadrature unless it has a closed form.
        density: Log-density of points, float64 (N, 2), in nats, (N,); None if it has no closed form.
    """

    draw: Callable[[int, Generator], Tensor]
    entropy: float
    density: Callable[[Tensor], Tensor] | None = None

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw ``count`` points, float32 (count, 2)."""
        return self.draw(count, generator).float()

    def log_density(self, points: Tensor) -> Tensor:
        """Return the exact log-density of points (N, 2), float64 (N,), nats; raise ValueError if it is not known."""
        if self.density is None:
            raise ValueError("the density of this toy has no closed form")
        return self.density(points.double())


class PointSet(BatchedSet[Tensor]):
    """Points of one split, float32 (N, 2), read a whole batch at a time."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        return self.values[torch.as_tensor(indices)]


def load_points(source: str, split: Split, *, seed: int = 0, limit: int | None = None) -> PointSet:
    """Load one split of a toy density: 50,000 points for training, 5,000 for validation and 20,000 for testing.

    Args:
        source: One of ``TOYS``.
        split: "train", "validation" or "test"; they are independent of each other.
        limit: Maximum number of points; the first of the split are kept.
    Raises:
        ValueError: If an argument is out of range.
    """
    check_split(split, limit)
    if source not in TOYS:
        raise ValueError(f"unknown source {source!r}; known: {', '.join(TOYS)}{closest(source, TOYS)}")
    generator = step_generator(seed, 0, "cpu", f"{source}/{split}")
    return PointSet(TOYS[source].sample(_COUNTS[split], generator)[:limit])


def _normal(count: int, generator: Generator) -> Tensor:
    return torch.randn(count, 2, generator=generator, dtype=torch.float64)


def _uniform(*shape: int, generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _on_circle(angle: Tensor) -> Tensor:
    """Return the points, (N, 2), of the unit circle at angles (N,)."""
    return torch.stack([angle.cos(), angle.sin()], dim=1)


# Eight equal Gaussians on a circle of radius 4/1.414, each of standard deviation 0.5/1.414; 1.414 is FFJORD's.
_EIGHT_STD = 0.5 / 1.414
_EIGHT_CENTRES = 4 / 1.414 * _on_circle(torch.arange(8, dtype=torch.float64) * math.pi / 4)


def _draw_eight_gaussians(count: int, generator: Generator) -> Tensor:
    centres = _EIGHT_CENTRES[torch.randint(8, (count,), generator=generator)]
    return centres + _EIGHT_STD * _normal(count, generator)


def _density_of_eight_gaussians(points: Tensor) -> Tensor:
    r"""Return :math:`\log \tfrac18 \sum_k \mathcal N(x; c_k, \sigma^2 I)`."""
    squares = (points[:, None] - _EIGHT_CENTRES).square().sum(-1) / (2 * _EIGHT_STD**2)
    return (-squares).logsumexp(1) - math.log(8 * 2 * math.pi * _EIGHT_STD**2)


# Uniform on the eight dark squares, of side 2, of a 4x4 board on [-4, 4]^2.
_DARK = [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
_DARK_CENTRES = 2.0 * torch.tensor(_DARK, dtype=torch.float64) + 1


def _draw_checkerboard(count: int, generator: Generator) -> Tensor:
    centres = _DARK_CENTRES[torch.randint(8, (count,), generator=generator)]
    return centres + 2 * _uniform(count, 2, generator=generator) - 1


def _density_of_checkerboard(points: Tensor) -> Tensor:
    # Edges are part of the dark squares: float32 rounds about one point in ten million onto an edge.
    dark = ((points[:, None] - _DARK_CENTRES).abs().amax(-1) <= 1).any(1)
    return torch.where(dark, points.new_tensor(-math.log(32)), -math.inf)


# Four equal circles, blurred by normal noise. FFJORD's angles are evenly spaced; these are independent.
_RADII = torch.tensor([0.75, 1.5, 2.25, 3.0], dtype=torch.float64)
_RING_STD = 0.08


def _draw_rings(count: int, generator: Generator) -> Tensor:
    radii = _RADII[torch.randint(4, (count,), generator=generator)]
    circle = _on_circle(2 * math.pi * _uniform(count, generator=generator))
    return radii[:, None] * circle + _RING_STD * _normal(count, generator)


def _density_of_rings(points: Tensor) -> Tensor:
    r"""Return the log-density of the rings.

    .. math:: \log \tfrac14 \sum_k \frac{1}{2\pi\sigma^2} e^{-(r - R_k)^2 / 2\sigma^2}\,
              e^{-rR_k/\sigma^2} I_0(r R_k / \sigma^2), \qquad r = |x|
    """
    radius = points.norm(dim=1, keepdim=True)
    bessel = torch.special.i0e(radius * _RADII / _RING_STD**2).log()
    rings = bessel - (radius - _RADII).square() / (2 * _RING_STD**2)
    return rings.logsumexp(1) - math.log(8 * math.pi * _RING_STD**2)


def _draw_two_moons(count: int, generator: Generator) -> Tensor:
    """Draw from two facing half circles of radius 2, blurred by normal noise of standard deviation 0.2.

    FFJORD scales and shifts scikit-learn's points, which are evenly spaced along the curves; these are independent.
    """
    upper = torch.randint(2, (count, 1), generator=generator) == 1
    circle = 2 * _on_circle(math.pi * _uniform(count, generator=generator))
    moon = torch.where(upper, circle - circle.new_tensor([1, 0.2]), circle.new_tensor([1, 0.8]) - circle)
    return moon + 0.2 * _normal(count, generator)


def _draw_two_spirals(count: int, generator: Generator) -> Tensor:
    r"""Draw from two spiral arms of one and a half turns, blurred by one-sided uniform noise and by normal noise.

    .. math:: x = \pm\bigl(c(t) + u\bigr) + 0.1\epsilon, \qquad c = n\,(-\cos n, \sin n) / 3, \quad n = 3\pi t,
              \qquad p(t) = 2t, \quad u \sim U[0, \tfrac16]^2
    """
    sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
    angle = 3 * math.pi * _uniform(count, generator=generator).sqrt()
    arm = angle[:, None] / 3 * _on_circle(math.pi - angle)
    jitter = 1 / 6 * _uniform(count, 2, generator=generator)
    return sign * (arm + jitter) + 0.1 * _normal(count, generator)


def _draw_pinwheel(count: int, generator: Generator) -> Tensor:
    r"""Draw from five blades, each a Gaussian stretched along the radius and twisted about the origin.

    .. math:: x = 2 R(-\theta_k - \tfrac14 e^a)\,(a, b)^\top, \qquad
              a \sim \mathcal N(1, 0.3^2), \quad b \sim \mathcal N(0, 0.1^2), \quad \theta_k = \tfrac{2\pi k}{5}

    where :math:`R` is a rotation.
    """
    blade = torch.randint(5, (count,), generator=generator)
    along, across = _normal(count, generator).unbind(1)
    along, across = 1.0 + 0.3 * along, 0.1 * across
    radius, angle = torch.hypot(along, across), torch.atan2(across, along)
    twisted = angle - 0.25 * (radius * angle.cos()).exp()
    return 2 * radius[:, None] * _on_circle(twisted - 2 * math.pi / 5 * blade)


TOYS: dict[str, Toy] = {
    "two_moons": Toy(_draw_two_moons, 2.39388),
    "eight_gaussians": Toy(_draw_eight_gaussians, 2.83188, _density_of_eight_gaussians),
    "checkerboard": Toy(_draw_checkerboard, math.log(32), _density_of_checkerboard),
    "pinwheel": Toy(_draw_pinwheel, 2.31779),
    "rings": Toy(_draw_rings, 2.62318, _density_of_rings),
    "two_spirals": Toy(_draw_two_spirals, 2.64545),
}
