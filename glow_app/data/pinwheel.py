"""The pinwheel: a toy density whose exact value is a sum over the preimages of a point."""

import math

import torch
from torch import Generator, Tensor

from glow_app.data.toy_base import Toy, in_blocks, normal, on_circle

_BLADE = 2 * math.pi / 5


class Pinwheel(Toy):
    r"""Five blades, each a Gaussian stretched along the radius and twisted about the origin.

    .. math:: x = 2 R(-\theta_k - \tfrac14 e^a)\,(a, b)^\top, \qquad
              a \sim \mathcal N(1, 0.3^2), \quad b \sim \mathcal N(0, 0.1^2), \quad \theta_k = \tfrac{2\pi k}{5}

    where :math:`R` is a rotation. The twist preserves the radius :math:`\rho = |(a, b)|`; in polar coordinates it is
    :math:`(\rho, \varphi) \to (\rho, \varphi - \theta_k - \frac14 e^{\rho\cos\varphi})`, and

    .. math:: p(x) = \frac1{4 \cdot 5} \sum_{k, \varphi}
              \frac{p(a, b)}{|1 + \frac14 \rho \sin\varphi\, e^{\rho\cos\varphi}|}

    over all :math:`k` and :math:`\varphi` that map to :math:`x`. The angles :math:`\varphi` are interpolated on a grid,
    accurate to about 1e-4 nats. The entropy is computed by 2-D quadrature.
    """

    entropy = 2.31779
    mean = 1.0
    stds = (0.3, 0.1)
    rate = 0.25
    grid = 2048

    def _log_density(self, points: Tensor) -> Tensor:
        return in_blocks(self._block, points, self.grid)

    def _block(self, points: Tensor) -> Tensor:
        radius = points.norm(dim=1, keepdim=True) / 2
        grid = torch.linspace(-math.pi, math.pi, self.grid + 1, dtype=torch.float64)
        # In units of a blade's angle: some blade maps an angle to the point where this is a whole number.
        turns = (self._twist(radius, grid) - torch.atan2(points[:, 1:], points[:, :1])) / _BLADE
        before, after = turns[:, :-1], turns[:, 1:]
        row, cell = torch.nonzero(before.floor() != after.floor(), as_tuple=True)
        start, end = before[row, cell], after[row, cell]
        share = (torch.maximum(start, end).floor() - start) / (end - start)
        terms = torch.full_like(before, -math.inf)
        terms[row, cell] = self._log_term(radius[row, 0], grid[cell] + share * (grid[1] - grid[0]))
        return terms.logsumexp(1) - math.log(4 * 5)

    def _log_term(self, radius: Tensor, angle: Tensor) -> Tensor:
        along, across = radius * angle.cos(), radius * angle.sin()
        exponent = ((along - self.mean) / self.stds[0]).square() / 2 + (across / self.stds[1]).square() / 2
        slope = 1 + self.rate * across * along.exp()
        return -exponent - math.log(2 * math.pi * math.prod(self.stds)) - slope.abs().log()

    def _twist(self, radius: Tensor, angle: Tensor) -> Tensor:
        # Avoids infinities; it changes nothing where the density exceeds e^-1000.
        return angle - self.rate * (radius * angle.cos()).clamp(max=20).exp()

    def _draw(self, count: int, generator: Generator) -> Tensor:
        blade = torch.randint(5, (count,), generator=generator)
        along, across = normal(count, generator).unbind(1)
        along, across = self.mean + self.stds[0] * along, self.stds[1] * across
        radius, angle = torch.hypot(along, across), torch.atan2(across, along)
        return 2 * radius[:, None] * on_circle(self._twist(radius, angle) - _BLADE * blade)
