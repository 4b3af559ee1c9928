"""Masked autoregressive flow; its inverse is the inverse autoregressive flow."""

from typing import Any

import torch
from torch import Tensor

from glow_app.bijections.affine import AffineMap
from glow_app.bijections.bijection import Bijection
from glow_app.bijections.elementwise import ElementwiseMap
from glow_app.nn import MADE
from glow_app.nn.precision import full_precision
from glow_app.nn.shape_checks import require_vector


class MaskedAutoregressive(Bijection):
    r"""Each value is transformed given the values before it.

    .. math:: z_i = f_{\theta_i}(x_i), \qquad \theta_i = g_i(x_{<i}, h), \qquad
              \log|\det J| = \sum_i \log f'_{\theta_i}(x_i)

    with an increasing :math:`f`, by default :math:`z_i = (x_i - \mu_i) e^{-s_i}`.

    **Costs.** Forward (density): one pass of the network. Inverse (sampling): sequential, D steps, whose
    multiplications add up to about one pass, so the cost is D times the latency of a step. In a network narrower than
    D, consecutive values that see the same hidden units share a step: ``num_steps`` of them, fewer still with
    ``max_groups``. :class:`~glow_app.bijections.Inverse` of it is the inverse autoregressive flow, with the costs
    exchanged: sampling in one pass, density (and so training) sequential.

    Starts as the identity, since the network's last layer starts at zero.

    Args:
        num_features: Values :math:`D`.
        hidden_features: Width of the network.
        context_features: Size :math:`E` of the context; 0 for none.
        elementwise: The function :math:`f`.
        is_reversed: Whether the values are ordered from the last to the first.
        **options: As for the network, :class:`~glow_app.nn.MADE`.
    Shape:
        x, z: (B, D); context: (B, E) or None; log_det: (B,), nats.
    Raises:
        ValueError: If a size is below 1, or an input has another shape.
    References:
        MAF, Papamakarios et al. 2017, arXiv:1705.07057; IAF, Kingma et al. 2016, arXiv:1606.04934.
    """

    def __init__(
        self,
        num_features: int,
        hidden_features: int,
        context_features: int = 0,
        elementwise: ElementwiseMap = AffineMap(),  # noqa: B008  # frozen
        is_reversed: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.elementwise = elementwise
        self.network = MADE(num_features, hidden_features, elementwise.num_parameters, context_features, **options)
        self.is_reversed = is_reversed

    @property
    def num_steps(self) -> int:
        """Number of steps of the inverse: at most D, the width of the network plus one, and ``max_groups``."""
        return self.network.num_groups

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent, in one pass."""
        require_vector("MaskedAutoregressive", x, self.num_features)
        with full_precision(x.device):
            ordered = self._ordered(x)
            z, log_derivative = self.elementwise.forward(ordered, self.network(ordered, context))
            return self._ordered(z), log_derivative.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data, step by step."""
        require_vector("MaskedAutoregressive", z, self.num_features)
        values: list[Tensor] = []
        log_derivatives: list[Tensor] = []
        with full_precision(z.device):
            ordered = self._ordered(z).split([group.stop - group.start for group in self.network.groups], dim=1)

            def step(group: slice, parameters: Tensor) -> Tensor:
                x, log_derivative = self.elementwise.inverse(ordered[len(values)], parameters)
                values.append(x)
                log_derivatives.append(log_derivative)
                return x

            self.network.unroll(step, z.shape[0], context)
            return self._ordered(torch.cat(values, dim=1)), torch.cat(log_derivatives, dim=1).sum(1)

    def _ordered(self, x: Tensor) -> Tensor:
        return x.flip(1) if self.is_reversed else x
