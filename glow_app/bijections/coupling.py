"""Coupling: one half of the channels decides what happens to the other."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections.base import Bijection
from glow_app.bijections.checks import require_image
from glow_app.nn import Conditioner

__all__ = ["AdditiveCoupling", "AffineCoupling"]


class AdditiveCoupling(Bijection):
    r"""The second half shifts by what the first half says; volume preserving.

    .. math:: z_a = x_a, \qquad z_b = x_b + t(x_a), \qquad \log|\det J| = 0

    Args:
        num_channels: Channels :math:`C` of the input; even.
        conditioner: From (B, C/2, H, W) to the shift :math:`t` (B, C/2, H, W).
    Shape:
        x, z: (B, C, H, W); context: (B, E) or None, for the conditioner; log_det: (B,), zeros.
    Raises:
        ValueError: If ``num_channels`` is odd, or the input has other channels.
    References:
        NICE, Dinh et al. 2015, arXiv:1410.8516, section 3.2.
    """

    def __init__(self, num_channels: int, conditioner: Conditioner) -> None:
        super().__init__()
        _require_even(num_channels)
        self.num_channels = num_channels
        self.conditioner = conditioner

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Add the shift to the second half."""
        require_image("AdditiveCoupling", x, self.num_channels)
        x_a, x_b = x.chunk(2, dim=1)
        shift = self.conditioner(x_a, context).to(x.dtype)
        return torch.cat([x_a, x_b + shift], dim=1), x.new_zeros(x.shape[0])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Subtract the shift from the second half."""
        require_image("AdditiveCoupling", z, self.num_channels)
        z_a, z_b = z.chunk(2, dim=1)
        shift = self.conditioner(z_a, context).to(z.dtype)
        return torch.cat([z_a, z_b - shift], dim=1), z.new_zeros(z.shape[0])

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the conditioner on the first half of ``x`` and return ``forward(x, context)``."""
        self.conditioner.initialize(x.chunk(2, dim=1)[0], context)
        return self.forward(x, context)


class AffineCoupling(Bijection):
    r"""The second half scales and shifts by what the first half says.

    .. math:: z_a = x_a, \qquad z_b = (x_b + t(x_a)) \odot s(x_a), \qquad \log|\det J| = \sum \log s(x_a)

    The conditioner gives :math:`(t, r)` and :math:`s = \varepsilon + (1 - \varepsilon)\,\sigma(r + 2)`, in
    :math:`(\varepsilon, 1)`: it can neither vanish, which would explode the inverse, nor explode itself; the actnorm of
    the next step takes care of the overall size. Its logarithm is computed without forming it,

    .. math:: \log s = \log\sigma(r + 2) - \log\sigma(r + 2 - \log\varepsilon)

    which neither overflows nor underflows at either end. Identity at initialisation up to a constant scale, since the
    conditioner's last layer starts at zero.

    Args:
        num_channels: Channels :math:`C` of the input; even.
        conditioner: From (B, C/2, H, W) to (B, C, H, W): the shift, then the raw scale.
        min_scale: The bound :math:`\varepsilon`, in (0, 1).
    Shape:
        x, z: (B, C, H, W); context: (B, E) or None, for the conditioner; log_det: (B,), nats.
    Raises:
        ValueError: If ``num_channels`` is odd, ``min_scale`` outside (0, 1), or the input has other channels.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.3, and its code (sigmoid of the raw scale plus 2).
        The lower bound is ours.
    """

    def __init__(self, num_channels: int, conditioner: Conditioner, min_scale: float = 0.1) -> None:
        super().__init__()
        _require_even(num_channels)
        if not 0.0 < min_scale < 1.0:
            raise ValueError(f"min_scale is {min_scale}; expected a number between 0 and 1, both excluded")
        self.num_channels = num_channels
        self.conditioner = conditioner
        self.log_min_scale = math.log(min_scale)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Shift, then scale the second half."""
        require_image("AffineCoupling", x, self.num_channels)
        x_a, x_b = x.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(x_a, context)
        z = torch.cat([x_a, (x_b + shift) * log_scale.exp()], dim=1)
        return z, log_scale.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Unscale, then unshift the second half."""
        require_image("AffineCoupling", z, self.num_channels)
        z_a, z_b = z.chunk(2, dim=1)
        shift, log_scale = self._shift_and_log_scale(z_a, context)
        x = torch.cat([z_a, z_b * (-log_scale).exp() - shift], dim=1)
        return x, -log_scale.flatten(1).sum(1)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the conditioner on the first half of ``x`` and return ``forward(x, context)``."""
        self.conditioner.initialize(x.chunk(2, dim=1)[0], context)
        return self.forward(x, context)

    def _shift_and_log_scale(self, x_a: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # The conditioner may run in bfloat16 under autocast; from here on everything is as wide as the data.
        shift, raw = self.conditioner(x_a, context).to(x_a.dtype).chunk(2, dim=1)
        raw = raw + 2.0
        return shift, F.logsigmoid(raw) - F.logsigmoid(raw - self.log_min_scale)


def _require_even(num_channels: int) -> None:
    if num_channels < 2 or num_channels % 2:
        raise ValueError(f"a coupling needs an even number of channels to halve, got {num_channels}; squeeze first")
