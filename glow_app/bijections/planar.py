"""Planar flow: a shift along one direction by a function of another."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.bijections.bijection import Bijection
from glow_app.nn.precision import full_precision, narrow, widen
from glow_app.nn.shape_checks import require_context, require_vector

MIN_SLOPE = 1e-3  # of the map; at 0, the determinant may round to 0 and its logarithm to minus infinity
# As many as float64 has bits, and ten for a bracket that is 1 / MIN_SLOPE times as wide as the root is large.
HALVINGS = 64


def _tanh_slope(a: Tensor) -> Tensor:
    # As 1 / cosh^2, without its overflow, and without the cancellation of 1 - tanh^2. Rounded above 1, it could make a
    # determinant negative.
    return (4 * torch.sigmoid(2 * a) * torch.sigmoid(-2 * a)).clamp_max(1.0)


class Planar(Bijection):
    r"""A shift along :math:`\hat u` by a function of :math:`w^T x`: planes across w are pushed together or apart.

    .. math:: z = x + \hat u\, h(w^T x + b), \qquad \log|\det J| = \log(1 + w^T \hat u\, h'(w^T x + b))

    with :math:`h = \tanh`, of slope at most 1. Invertible whatever the parameters, since invertibility depends only on
    the component of u along w, which is constrained:

    .. math:: \hat u = u + (m(w^T u) - w^T u) \frac{w}{\|w\|^2}, \qquad
              m(a) = \mathrm{softplus}(a + c) - \mathrm{softplus}(c), \qquad \mathrm{softplus}(c) = 1 - \varepsilon

    so that :math:`w^T \hat u = m > \varepsilon - 1`, and the determinant is above :math:`\varepsilon = 10^{-3}`. The
    inverse is the root of an increasing function of one number, :math:`a + m\, h(a) = w^T z + b`, after which
    :math:`x = z - \hat u\, h(a)`; its derivatives up to the third are those of the implicit function theorem.

    **Costs.** :math:`O(D)` per sample in both directions. The paper maps noise to data with this formula; here it maps
    data to noise, so densities, and so training, need no root, and sampling solves one scalar equation per sample.

    Starts near the identity.

    Args:
        num_features: Values :math:`D`.
        context_features: Size :math:`E` of the context, which shifts u and b by a zero-initialised linear map; 0 for
            none.
    Shape:
        x, z: (B, D); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If an input has another shape.
        FloatingPointError: In the inverse, if the latent is not finite.
    References:
        Rezende & Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.1. The bound is ours.
    """

    def __init__(self, num_features: int, context_features: int = 0) -> None:
        super().__init__()
        self.num_features = num_features
        self.context_features = context_features
        self.w, self.u = nn.Parameter(torch.empty(num_features)), nn.Parameter(torch.empty(num_features))
        if not self.w.is_meta:  # arithmetic on the meta device takes seconds to import
            nn.init.normal_(self.w, std=1 / math.sqrt(num_features))
            nn.init.normal_(self.u, std=0.01)  # not zero, where w and b would get no gradient
        self.b = nn.Parameter(torch.zeros(1))
        self.projection = nn.Linear(context_features, num_features + 1, bias=False) if context_features else None
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent, by the formula."""
        require_vector("Planar", x, self.num_features)
        with full_precision(x.device):
            # The inverse magnifies rounding by up to 1 / MIN_SLOPE, and a long u cancels in u_hat.
            wide = widen(x)
            u_hat, m, b = self._constrained(wide, context)
            a = wide @ self.w.to(wide.dtype) + b
            z = wide + u_hat * a.tanh()[:, None]
            log_det = torch.log1p(m * _tanh_slope(a))
        return narrow(z, like=x), narrow(log_det, like=x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data, by the root of a scalar equation."""
        require_vector("Planar", z, self.num_features)
        with full_precision(z.device):
            wide = widen(z)
            u_hat, m, b = self._constrained(wide, context)
            a = _solve(m, wide @ self.w.to(wide.dtype) + b)
            x = wide - u_hat * a.tanh()[:, None]
            log_det = -torch.log1p(m * _tanh_slope(a))
        return narrow(x, like=z), narrow(log_det, like=z)

    def _constrained(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return u_hat, (B, D), its product with w, and b, both (B,); B is 1 without a context."""
        w, u, b = (parameter.to(x.dtype) for parameter in (self.w, self.u[None], self.b))
        if self.projection is not None:
            given = require_context("Planar", context, x.shape[0], self.context_features)
            shift = F.linear(given.to(x.dtype), self.projection.weight.to(x.dtype))
            u, b = u + shift[:, :-1], b + shift[:, -1]
        # The usual m(a) = softplus(a) - 1 is not 0 at 0: it squeezes where u = 0, which should be the identity.
        offset = u.new_tensor(math.log(math.expm1(1 - MIN_SLOPE)))
        product = u @ w
        m = F.softplus(product + offset) - F.softplus(offset)
        # At w = 0 the numerator is 0 too.
        norm = w.square().sum().clamp_min(torch.finfo(w.dtype).tiny)
        across = u - (product / norm)[:, None] * w
        # Once more, since rounding leaves a component of a long u along w.
        across = across - (across @ w / norm)[:, None] * w
        return across + (m / norm)[:, None] * w, m, b


def _solve(m: Tensor, target: Tensor) -> Tensor:
    """Return the root of a + m tanh(a) = target."""
    with torch.no_grad():
        least = 1 + m.clamp(max=0)
        # From the target to the root the left side changes by m tanh(target), at least at the smallest slope; with a
        # margin for rounding.
        rounding = math.sqrt(torch.finfo(target.dtype).eps) * (1 + target.abs())
        radius = 1.01 * (m * target.tanh()).abs() / least + rounding
        lower, upper = target - radius, target + radius
        bad = ~(upper - lower).isfinite()
        if bad.any():
            raise FloatingPointError(
                f"{int(bad.sum())} of {bad.numel()} latents have no finite inverse; check for NaN or infinity in the "
                "latents and parameters"
            )
        for _ in range(HALVINGS):
            root = lower / 2 + upper / 2
            is_above = root + m * root.tanh() > target
            lower, upper = torch.where(is_above, lower, root), torch.where(is_above, root, upper)
    # Newton steps from the root stay there and give its derivatives: one step the first, two the first three.
    for _ in range(2):
        root = root - (root + m * root.tanh() - target) / (1 + m * _tanh_slope(root))
    return root
