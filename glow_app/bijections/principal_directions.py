"""Whitening along the principal directions of a whole latent."""

import math

import torch
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.nn.precision import full_precision
from glow_app.nn.shape_checks import require_at_least, require_image

POWER_ITERATIONS = 10
EXAMPLES_PER_DIRECTION = 100
MIN_STD = 0.1  # where examples do not vary


class PrincipalDirections(Bijection):
    r"""Scaling along a few directions in the space of all values, the principal directions of the input.

    .. math:: z = x + Q\,(\mathrm{diag}(\sigma)^{-1} - I)\, Q^\top x, \qquad \log|\det J| = -\sum_i \log \sigma_i

    Q has orthonormal columns. So where z is N(0, I), x is Gaussian with mean 0 and covariance
    :math:`I + Q\,(\mathrm{diag}(\sigma)^2 - I)\, Q^\top`. A direction such as the overall colour of a picture is worth
    few nats, so convolutions hardly learn it, but it decides how far draws differ. Directions and deviations are not
    trained, but set by :meth:`fit`; it is the identity until then, and for inputs of another height or width.

    Args:
        shape: (C, H, W) of the input.
        rank: Most directions; at most C H W.
    Shape:
        x, z: (B, C, H, W); context: ignored; log_det: (B,), nats.
    Raises:
        ValueError: If ``rank`` is below 1, or an input has other channels.
    References:
        Probabilistic Principal Component Analysis, Tipping & Bishop 1999, doi:10.1111/1467-9868.00196.
    """

    directions: Tensor
    std: Tensor

    def __init__(self, shape: tuple[int, int, int], rank: int) -> None:
        super().__init__()
        require_at_least(1, rank=rank)
        self.rank = min(rank, math.prod(shape))
        self.register_buffer("directions", torch.zeros(self.rank, *shape))
        self.register_buffer("std", torch.ones(self.rank))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Divide by the deviations."""
        return self._scale(x, 1 / self.std)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Multiply by the deviations."""
        return self._scale(z, self.std)

    def reset(self) -> None:
        """Become the identity."""
        self.directions.zero_()
        self.std.fill_(1)

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Set directions and deviations from examples, (N, C, H, W), which are white except in a few directions.

        The directions are the principal ones of half the examples, one for each hundred at most. The deviations are
        those of the other half: along directions that are chosen for them, deviations are too large. Examples that are
        not finite are left out.
        """
        self.reset()
        x = x[x.flatten(1).isfinite().all(1)]
        chosen, other = x.flatten(1)[::2], x.flatten(1)[1::2]
        rank = min(self.rank, len(x) // EXAMPLES_PER_DIRECTION)
        if rank == 0:
            return
        with full_precision(x.device):
            basis = chosen[:rank].T
            for _ in range(POWER_ITERATIONS):  # for the whole subspace
                # On the CPU, since MPS has no QR decomposition, or a slow one.
                basis = torch.linalg.qr((chosen.T @ (chosen @ basis)).cpu()).Q.to(x)
            self.directions[:rank] = basis.T.unflatten(1, x.shape[1:])
            self.std[:rank] = (other @ basis).square().mean(0).sqrt().clamp(min=MIN_STD)

    def _scale(self, x: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
        require_image("PrincipalDirections", x, self.directions.shape[1])
        if x.shape[1:] != self.directions.shape[1:]:
            return x, x.new_zeros(x.shape[0])
        flat, rows = x.flatten(1), self.directions.flatten(1)
        with full_precision(x.device):
            change = ((flat @ rows.T) * (factors - 1)) @ rows
        return x + change.view_as(x), factors.log().sum().expand(x.shape[0])
