r"""Six toy densities in the plane, known exactly, with their entropies.

Shapes and scales are those of FFJORD's published toy code, so that results are comparable; each class documents its
departures. A model's expected negative log-likelihood on new points is the entropy plus the Kullback-Leibler
divergence of the model from the toy, so the entropy is a lower bound.

References:
    FFJORD, Grathwohl et al. 2019, arXiv:1810.01367; github.com/rtqichen/ffjord, ``lib/toy_data.py``.
"""

import math

import torch
from torch import Generator, Tensor

from glow_app.data.pinwheel import Pinwheel
from glow_app.data.toy_base import Toy, log_mixture, log_normal, log_slab, normal, on_circle, quadrature, uniform


class EightGaussians(Toy):
    r"""Eight equal Gaussians on a circle of radius 4/1.414, each of standard deviation 0.5/1.414.

    .. math:: p(x) = \tfrac18 \sum_k \mathcal N(x; c_k, \sigma^2 I)

    1.414 is FFJORD's, not :math:`\sqrt2`. The entropy is computed by 2-D quadrature; if the Gaussians did not
    overlap, it would be :math:`\log 8 + \log 2\pi e\sigma^2 = 2.8381`.
    """

    entropy = 2.83188
    std = 0.5 / 1.414

    def _log_density(self, points: Tensor) -> Tensor:
        weights = torch.full((8,), -math.log(8), dtype=torch.float64)
        return log_mixture(points, self._centres(), weights, lambda offsets: log_normal(offsets, self.std))

    def _draw(self, count: int, generator: Generator) -> Tensor:
        centres = self._centres()[torch.randint(8, (count,), generator=generator)]
        return centres + self.std * normal(count, generator)

    @staticmethod
    def _centres() -> Tensor:
        return 4 / 1.414 * on_circle(torch.arange(8, dtype=torch.float64) * math.pi / 4)


class Checkerboard(Toy):
    r"""Uniform on the eight dark squares, of side 2, of a 4x4 board on :math:`[-4, 4]^2`.

    .. math:: p(x) = \tfrac1{32} \text{ on the dark squares, edges included, and 0 elsewhere}

    The entropy is the logarithm of the area, :math:`\log 32`.
    """

    entropy = math.log(32)

    def _log_density(self, points: Tensor) -> Tensor:
        # Edges are part of the dark squares: float32 rounds about one point in ten million onto an edge.
        dark = ((points[:, None] - self._centres()).abs().amax(-1) <= 1).any(1)
        return torch.where(dark, points.new_tensor(-self.entropy), -math.inf)

    def _draw(self, count: int, generator: Generator) -> Tensor:
        centres = self._centres()[torch.randint(8, (count,), generator=generator)]
        return centres + 2 * uniform(count, 2, generator=generator) - 1

    @staticmethod
    def _centres() -> Tensor:
        cells = [(i, j) for i in range(-2, 2) for j in range(-2, 2) if (i + j) % 2 == 0]
        return 2.0 * torch.tensor(cells, dtype=torch.float64) + 1


class Rings(Toy):
    r"""Four equal circles of radii 0.75, 1.5, 2.25 and 3, blurred by noise of standard deviation 0.08.

    .. math:: p(x) = \tfrac14 \sum_k \frac{1}{2\pi\sigma^2} e^{-(r - R_k)^2 / 2\sigma^2}\,
              e^{-rR_k/\sigma^2} I_0(r R_k / \sigma^2), \qquad r = |x|

    FFJORD's angles are evenly spaced; these are independent. The entropy is computed by 1-D quadrature over the radius.
    """

    entropy = 2.62318
    std = 0.08
    radii = (0.75, 1.5, 2.25, 3.0)

    def _log_density(self, points: Tensor) -> Tensor:
        radii = torch.tensor(self.radii, dtype=torch.float64)
        radius = points.norm(dim=1, keepdim=True)
        bessel = torch.special.i0e(radius * radii / self.std**2).log()
        rings = bessel - (radius - radii).square() / (2 * self.std**2)
        return rings.logsumexp(1) - math.log(8 * math.pi * self.std**2)

    def _draw(self, count: int, generator: Generator) -> Tensor:
        radii = torch.tensor(self.radii, dtype=torch.float64)[torch.randint(4, (count,), generator=generator)]
        circle = on_circle(2 * math.pi * uniform(count, generator=generator))
        return radii[:, None] * circle + self.std * normal(count, generator)


class TwoMoons(Toy):
    r"""Two facing half circles, blurred by noise of standard deviation 0.2.

    .. math:: p(x) = \tfrac12 \sum_k \int_0^1 \mathcal N(x; c_k(t), \sigma^2 I)\,dt, \qquad
              c_1 = (2\cos\pi t - 1,\; 2\sin\pi t - 0.2), \quad c_2 = (1 - 2\cos\pi t,\; 0.8 - 2\sin\pi t)

    FFJORD scales and shifts scikit-learn's points, which are evenly spaced along the curves; these are independent.
    The density is computed by 1-D quadrature over :math:`t`, the entropy by 2-D quadrature of the density.
    """

    entropy = 2.39388
    std = 0.2

    def _log_density(self, points: Tensor) -> Tensor:
        nodes, log_weights = quadrature(8)
        centres = torch.cat([self._moon(nodes, upper) for upper in (True, False)])
        log_weights = log_weights.repeat(2) - math.log(2)
        return log_mixture(points, centres, log_weights, lambda offsets: log_normal(offsets, self.std))

    def _draw(self, count: int, generator: Generator) -> Tensor:
        upper = torch.randint(2, (count, 1), generator=generator) == 1
        position = uniform(count, generator=generator)
        moon = torch.where(upper, self._moon(position, True), self._moon(position, False))
        return moon + self.std * normal(count, generator)

    @staticmethod
    def _moon(position: Tensor, upper: bool) -> Tensor:
        circle = 2 * on_circle(math.pi * position)
        return circle - circle.new_tensor([1, 0.2]) if upper else circle.new_tensor([1, 0.8]) - circle


class TwoSpirals(Toy):
    r"""Two spiral arms of one and a half turns, blurred by one-sided uniform noise and by normal noise.

    .. math:: x = \pm\bigl(c(t) + u\bigr) + \sigma\epsilon, \qquad c = n\,(-\cos n, \sin n) / 3, \quad n = 3\pi t,
              \qquad p(t) = 2t, \quad u \sim U[0, \tfrac16]^2, \quad \sigma = 0.1

    Exactly FFJORD's. The sum of the two noises has a density in closed form. The density of the points is computed by
    1-D quadrature over :math:`t`, the entropy by 2-D quadrature of the density.
    """

    entropy = 2.64545
    std = 0.1
    width = 1 / 6

    def _log_density(self, points: Tensor) -> Tensor:
        nodes, log_weights = quadrature(64)
        log_weights = log_weights + nodes.mul(2).log()
        centres = self._arm(nodes)

        def arm(points: Tensor) -> Tensor:
            return log_mixture(points, centres, log_weights, lambda offsets: log_slab(offsets, self.width, self.std))

        return torch.logaddexp(arm(points), arm(-points)) - math.log(2)

    def _draw(self, count: int, generator: Generator) -> Tensor:
        sign = 2.0 * torch.randint(2, (count, 1), generator=generator) - 1
        arm = self._arm(uniform(count, generator=generator).sqrt())
        jitter = self.width * uniform(count, 2, generator=generator)
        return sign * (arm + jitter) + self.std * normal(count, generator)

    @staticmethod
    def _arm(position: Tensor) -> Tensor:
        angle = 3 * math.pi * position
        return angle[:, None] / 3 * on_circle(math.pi - angle)


TOYS: dict[str, Toy] = {
    "two_moons": TwoMoons(),
    "eight_gaussians": EightGaussians(),
    "checkerboard": Checkerboard(),
    "pinwheel": Pinwheel(),
    "rings": Rings(),
    "two_spirals": TwoSpirals(),
}
