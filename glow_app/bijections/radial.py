"""Radial flow: the space moves towards a point or away from it."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.bijections.base import Bijection
from glow_app.bijections.checks import require_vector
from glow_app.bijections.precision import full_precision, narrow, widen
from glow_app.nn.checks import require_context

__all__ = ["Radial"]

# Of the radius, anywhere: what keeps the map invertible in floating point.
MIN_SLOPE = 1e-3
# Softplus underflows to 0, which at the centre would divide 0 by 0.
MIN_ALPHA = 1e-6


class Radial(Bijection):
    r"""A push towards a centre :math:`x_0` or away from it, strongest near it.

    .. math:: z = x + \hat\beta\, \frac{x - x_0}{\alpha + r}, \qquad r = \|x - x_0\|, \qquad
              \log|\det J| = (D - 1) \log\left(1 + \frac{\hat\beta}{\alpha + r}\right)
                             + \log\left(1 + \frac{\hat\beta\, \alpha}{(\alpha + r)^2}\right)

    Invertible whatever the parameters, by :math:`\alpha > 0` and

    .. math:: \hat\beta = \mathrm{softplus}(\beta + c) - \mathrm{softplus}(c), \qquad
              \mathrm{softplus}(c) = (1 - \varepsilon)\, \alpha

    so that :math:`\hat\beta > (\varepsilon - 1)\, \alpha`: every slope is above :math:`\varepsilon = 10^{-3}`, and
    :math:`\beta = 0` is the identity. The inverse takes r from a quadratic equation, in closed form.

    **Costs.** :math:`O(D)` a sample both ways. The paper maps noise to data with this formula; here the formula maps
    data to noise. Densities and samples cost the same.

    Starts near the identity.

    Args:
        num_features: Values :math:`D`.
        context_features: Size :math:`E` of the context, of which a linear map from zero shifts :math:`x_0` and
            :math:`\beta`; 0 for none.
    Shape:
        x, z: (B, D); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If an input has another shape.
    References:
        Rezende & Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.2. The bound is ours.
    """

    def __init__(self, num_features: int, context_features: int = 0) -> None:
        super().__init__()
        self.num_features = num_features
        self.context_features = context_features
        self.center = nn.Parameter(torch.randn(num_features))
        self.raw_alpha = nn.Parameter(torch.full((1,), math.log(math.expm1(1.0))))
        # Not zero, where centre and alpha would get no gradient.
        self.beta = nn.Parameter(0.01 * torch.randn(1))
        self.projection = nn.Linear(context_features, num_features + 1, bias=False) if context_features else None
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        require_vector("Radial", x, self.num_features)
        with full_precision(x.device):
            # The inverse magnifies rounding by up to 1 / MIN_SLOPE.
            wide = widen(x)
            center, alpha, beta_hat = self._constrained(wide, context)
            offset = wide - center
            r = torch.linalg.vector_norm(offset, dim=1)
            z = wide + (beta_hat / (alpha + r))[:, None] * offset
            log_det = self._log_det(alpha, beta_hat, r)
        return narrow(z, like=x), narrow(log_det, like=x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        require_vector("Radial", z, self.num_features)
        with full_precision(z.device):
            wide = widen(z)
            center, alpha, beta_hat = self._constrained(wide, context)
            offset = wide - center
            r = _radius(alpha, beta_hat, torch.linalg.vector_norm(offset, dim=1))
            # From the centre: from z, a long way back would cancel.
            x = center + ((alpha + r) / (alpha + r + beta_hat))[:, None] * offset
            log_det = -self._log_det(alpha, beta_hat, r)
        return narrow(x, like=z), narrow(log_det, like=z)

    def _log_det(self, alpha: Tensor, beta_hat: Tensor, r: Tensor) -> Tensor:
        ratio = beta_hat / (alpha + r)
        return (self.num_features - 1) * torch.log1p(ratio) + torch.log1p(ratio * alpha / (alpha + r))

    def _constrained(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the centre, (B, D), alpha, (1,), and beta_hat, (B,); B is 1 where there is no context."""
        center, beta = self.center.to(x.dtype)[None], self.beta.to(x.dtype)
        if self.projection is not None:
            given = require_context("Radial", context, x.shape[0], self.context_features)
            shift = F.linear(given.to(x.dtype), self.projection.weight.to(x.dtype))
            center, beta = center + shift[:, :-1], beta + shift[:, -1]
        alpha = MIN_ALPHA + F.softplus(self.raw_alpha.to(x.dtype))
        bound = (1 - MIN_SLOPE) * alpha
        # The inverse of softplus, without the overflow of exp(bound) - 1.
        shifted = bound + (-torch.expm1(-bound)).log()
        return center, alpha, F.softplus(beta + shifted) - F.softplus(shifted)


def _radius(alpha: Tensor, beta_hat: Tensor, rho: Tensor) -> Tensor:
    r"""Return the root :math:`r \ge 0` of :math:`r + \hat\beta r / (\alpha + r) = \rho`."""
    p = alpha + beta_hat - rho
    # The two forms of the root of r^2 + p r - alpha rho, each where it has no cancellation; q > 0 in both.
    q = (p.abs() + (p.square() + 4 * alpha * rho).sqrt()) / 2
    return torch.where(p < 0, q, alpha * rho / q)
