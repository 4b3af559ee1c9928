"""Planar flow: a shift along one direction by a function of another."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.bijections.bijection import Bijection
from glow_app.nn.precision import full_precision, narrow, widen
from glow_app.nn.shape_checks import require_choice, require_context, require_vector

LEAK = 0.1
# As many as float64 has bits, and ten for a bracket that is 1 / min_slope times as wide as the root is large.
HALVINGS = 64


@dataclass(frozen=True)
class _Nonlinearity:
    """An increasing function with h(0) = 0, its derivative, and the range of the derivative."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    slopes: tuple[float, float]


def _tanh_slope(a: Tensor) -> Tensor:
    # As 1 / cosh^2, without its overflow, and without the cancellation of 1 - tanh^2. Rounded above 1, it could make a
    # determinant negative.
    return (4 * torch.sigmoid(2 * a) * torch.sigmoid(-2 * a)).clamp_max(1.0)


def _leaky(a: Tensor) -> Tensor:
    # softplus(a) - log 2 without its cancellation near 0, which a long u would magnify. At 0 autograd takes 1/2 as the
    # derivative of the maximum and 0 as that of the absolute value, so that of the sum is right there too.
    bend = torch.maximum(a, torch.zeros_like(a)) + torch.log1p(torch.expm1(-a.abs()) / 2)
    return LEAK * a + (1 - LEAK) * bend


def _leaky_slope(a: Tensor) -> Tensor:
    return LEAK + (1 - LEAK) * torch.sigmoid(a)


_NONLINEARITIES: Mapping[str, _Nonlinearity] = {
    "tanh": _Nonlinearity(torch.tanh, _tanh_slope, (0.0, 1.0)),
    "leaky": _Nonlinearity(_leaky, _leaky_slope, (LEAK, 1.0)),
}


class Planar(Bijection):
    r"""A shift along :math:`\hat u` by a function of :math:`w^T x`: planes across w are pushed together or apart.

    .. math:: z = x + \hat u\, h(w^T x + b), \qquad \log|\det J| = \log(1 + w^T \hat u\, h'(w^T x + b))

    with :math:`h = \tanh`, or a smooth leaky rectifier
    :math:`h(a) = 0.1\, a + 0.9\, (\mathrm{softplus}(a) - \log 2)`, both of slope at most 1. Invertible whatever the
    parameters, since invertibility depends only on the component of u along w, which is constrained:

    .. math:: \hat u = u + (m(w^T u) - w^T u) \frac{w}{\|w\|^2}, \qquad
              m(a) = \mathrm{softplus}(a + c) - \mathrm{softplus}(c), \qquad \mathrm{softplus}(c) = 1 - \varepsilon

    so that :math:`w^T \hat u = m > \varepsilon - 1`, and the determinant is above :math:`\varepsilon`. The inverse is
    the root of an increasing function of one number, :math:`a + m\, h(a) = w^T z + b`, after which
    :math:`x = z - \hat u\, h(a)`; its derivatives up to the third are those of the implicit function theorem.

    **Costs.** :math:`O(D)` per sample in both directions. The paper maps noise to data with this formula; here it maps
    data to noise, so densities, and so training, need no root, and sampling solves one scalar equation per sample.

    Starts near the identity.

    Args:
        num_features: Values :math:`D`.
        context_features: Size :math:`E` of the context, which shifts u and b by a zero-initialised linear map; 0 for
            none.
        nonlinearity: The function h, "tanh" or "leaky".
        min_slope: The bound :math:`\varepsilon`. At 0 the determinant may round to 0 and its logarithm to
            :math:`-\infty`.
    Shape:
        x, z: (B, D); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If the nonlinearity is unknown, ``min_slope`` outside [0, 1), or an input has another shape.
        FloatingPointError: In the inverse, if the latent is not finite.
    References:
        Rezende & Mohamed 2015, arXiv:1505.05770, section 4.1 and appendix A.1. The bound is ours.
    """

    def __init__(
        self,
        num_features: int,
        context_features: int = 0,
        nonlinearity: Literal["tanh", "leaky"] = "tanh",
        min_slope: float = 1e-3,
    ) -> None:
        super().__init__()
        require_choice(_NONLINEARITIES, nonlinearity=nonlinearity)
        if not 0.0 <= min_slope < 1.0:
            raise ValueError(f"min_slope is {min_slope}; expected at least 0 and below 1")
        self.num_features = num_features
        self.context_features = context_features
        self.nonlinearity = nonlinearity
        self.min_slope = min_slope
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
        h = _NONLINEARITIES[self.nonlinearity]
        with full_precision(x.device):
            # The inverse magnifies rounding by up to 1 / min_slope, and a long u cancels in u_hat.
            wide = widen(x)
            u_hat, m, b = self._constrained(wide, context)
            a = wide @ self.w.to(wide.dtype) + b
            z = wide + u_hat * h.value(a)[:, None]
            log_det = torch.log1p(m * h.slope(a))
        return narrow(z, like=x), narrow(log_det, like=x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data, by the root of a scalar equation."""
        require_vector("Planar", z, self.num_features)
        h = _NONLINEARITIES[self.nonlinearity]
        with full_precision(z.device):
            wide = widen(z)
            u_hat, m, b = self._constrained(wide, context)
            a = _solve(h, m, wide @ self.w.to(wide.dtype) + b)
            x = wide - u_hat * h.value(a)[:, None]
            log_det = -torch.log1p(m * h.slope(a))
        return narrow(x, like=z), narrow(log_det, like=z)

    def _constrained(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return u_hat, (B, D), its product with w, and b, both (B,); B is 1 without a context."""
        w, u, b = (parameter.to(x.dtype) for parameter in (self.w, self.u[None], self.b))
        if self.projection is not None:
            given = require_context("Planar", context, x.shape[0], self.context_features)
            shift = F.linear(given.to(x.dtype), self.projection.weight.to(x.dtype))
            u, b = u + shift[:, :-1], b + shift[:, -1]
        # The usual m(a) = softplus(a) - 1 is not 0 at 0: it squeezes where u = 0, which should be the identity.
        offset = u.new_tensor(math.log(math.expm1(1 - self.min_slope)))
        product = u @ w
        m = F.softplus(product + offset) - F.softplus(offset)
        # At w = 0 the numerator is 0 too.
        norm = w.square().sum().clamp_min(torch.finfo(w.dtype).tiny)
        across = u - (product / norm)[:, None] * w
        # Once more, since rounding leaves a component of a long u along w.
        across = across - (across @ w / norm)[:, None] * w
        return across + (m / norm)[:, None] * w, m, b


def _solve(h: _Nonlinearity, m: Tensor, target: Tensor) -> Tensor:
    """Return the root of a + m h(a) = target."""
    with torch.no_grad():
        least = 1 + torch.minimum(m * h.slopes[0], m * h.slopes[1])
        # From the target to the root the left side changes by m h(target), at least at the smallest slope; with a
        # margin for rounding.
        rounding = math.sqrt(torch.finfo(target.dtype).eps) * (1 + target.abs())
        radius = 1.01 * (m * h.value(target)).abs() / least + rounding
        lower, upper = target - radius, target + radius
        bad = ~(upper - lower).isfinite()
        if bad.any():
            raise FloatingPointError(
                f"{int(bad.sum())} of {bad.numel()} latents have no finite inverse; check for NaN or infinity in the "
                "latents and parameters, or use a min_slope above 0"
            )
        for _ in range(HALVINGS):
            root = lower / 2 + upper / 2
            is_above = root + m * h.value(root) > target
            lower, upper = torch.where(is_above, lower, root), torch.where(is_above, root, upper)
    # Newton steps from the root stay there and give its derivatives: one step the first, two the first three.
    for _ in range(2):
        root = root - (root + m * h.value(root) - target) / (1 + m * h.slope(root))
    return root
