"""Couplings: one half of the channels determines how the other half changes."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.nn import Conditioner
from glow_app.nn.shape_checks import require_image, require_positive
from glow_app.spec import register

MIN_SCALE = 0.1  # of an affine coupling


class Coupling(Bijection):
    r"""Base of couplings: the second half changes by parameters that a conditioner computes from the first.

    .. math:: z_a = x_a, \qquad z_b = g(x_b; \theta(x_a)), \qquad \log|\det J| = \sum \log g'

    Subclasses define :math:`\theta` as a function of the conditioner's output, and :math:`g` with its inverse.

    Args:
        num_channels: Channels :math:`C` of the input, at least 2. Of an odd number, the first half is the smaller one.
        conditioner: From (B, C // 2, H, W) to (B, ``outputs_per_channel`` * (C - C // 2), H, W).
        max_input: If given, a bound m: the conditioner sees :math:`m \tanh(x_a / m)` instead of :math:`x_a`. Samples
            then stay near the values of training; without it, a value beyond these can get an extreme shift or scale,
            which moves the next step's input still further, until the sample explodes.
    Attributes:
        outputs_per_channel: Outputs of the conditioner for each channel of the second half.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None, for the conditioner; log_det: (B,), nats.
    Raises:
        TypeError: If ``conditioner`` is not a :class:`~glow_app.nn.Conditioner`.
        ValueError: If ``num_channels`` is below 2, ``max_input`` is not above 0, or the input or the conditioner's
            output has another shape.
    """

    outputs_per_channel: ClassVar[int]

    def __init__(self, num_channels: int, conditioner: Conditioner, max_input: float | None = None) -> None:
        super().__init__()
        if num_channels < 2:
            raise ValueError(f"a coupling needs at least 2 channels to halve, got {num_channels}; squeeze first")
        if not isinstance(conditioner, Conditioner):
            raise TypeError(f"conditioner is a {type(conditioner).__name__}; expected a subclass of Conditioner")
        if max_input is not None:
            require_positive(max_input=max_input)
        self.num_channels = num_channels
        self.conditioner = conditioner
        self.max_input = max_input

    @abstractmethod
    def interpret(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return :math:`\\theta` from the conditioner's output, which has the dtype of the data."""

    @abstractmethod
    def transform(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return :math:`g(x_b)` and its log-determinant."""

    @abstractmethod
    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return :math:`g^{-1}(z_b)` and its log-determinant."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change the second half."""
        x_a, x_b = self.halves(x)
        z_b, log_det = self.transform(x_b, *self.parameters_of(x_a, context))
        return torch.cat([x_a, z_b], dim=1), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Change the second half back."""
        z_a, z_b = self.halves(z)
        x_b, log_det = self.inverse_transform(z_b, *self.parameters_of(z_a, context))
        return torch.cat([z_a, x_b], dim=1), log_det

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the conditioner on the first half of ``x`` and return ``forward(x, context)``."""
        self.conditioner.initialize(bounded(self.halves(x)[0], self.max_input), context)
        return self.forward(x, context)

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the half that passes through, and the half that changes."""
        require_image(type(self).__name__, x, self.num_channels)
        kept = self.num_channels // 2
        return x[:, :kept], x[:, kept:]

    def parameters_of(self, x_a: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        r"""Return :math:`\theta(x_a)`."""
        # The conditioner may run in bfloat16 under autocast; everything after it has the dtype of the data.
        output = self.conditioner(bounded(x_a, self.max_input), context)
        num_outputs = self.outputs_per_channel * (self.num_channels - self.num_channels // 2)
        if output.shape[1:] != (num_outputs, *x_a.shape[2:]):  # which could broadcast, with a wrong log-determinant
            raise ValueError(
                f"{type(self.conditioner).__name__} returned shape {tuple(output.shape)}; {type(self).__name__} "
                f"expects {(x_a.shape[0], num_outputs, *x_a.shape[2:])}"
            )
        return self.interpret(output.to(x_a.dtype, memory_format=torch.contiguous_format))


def bounded(x: Tensor, bound: float | None) -> Tensor:
    r"""Return :math:`m \tanh(x / m)`, or ``x`` itself without a bound."""
    return x if bound is None else bound * torch.tanh(x / bound)


@register("additive")
class AdditiveCoupling(Coupling):
    r"""The second half is shifted by a function of the first; volume preserving.

    .. math:: z_a = x_a, \qquad z_b = x_b + t(x_a), \qquad \log|\det J| = 0

    Args:
        num_channels: Channels :math:`C` of the input, at least 2.
        conditioner: From (B, C // 2, H, W) to the shift :math:`t` (B, C - C // 2, H, W).
        max_input: Bound of the conditioner's input, as in :class:`Coupling`; none if None.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None, for the conditioner; log_det: (B,), zeros.
    Raises:
        TypeError, ValueError: As :class:`Coupling`.
    References:
        NICE, Dinh et al. 2015, arXiv:1410.8516, section 3.2.
    """

    outputs_per_channel = 1

    def interpret(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return the shift."""
        return (output,)

    def transform(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Shift."""
        (shift,) = theta
        return x_b + shift, x_b.new_zeros(x_b.shape[0])

    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back."""
        (shift,) = theta
        return z_b - shift, z_b.new_zeros(z_b.shape[0])


@register("affine")
class AffineCoupling(Coupling):
    r"""The second half is shifted and scaled by functions of the first.

    .. math:: z_a = x_a, \qquad z_b = (x_b + t(x_a)) \odot s(x_a), \qquad \log|\det J| = \sum \log s(x_a)

    The conditioner gives :math:`(t, r)` and :math:`s = \varepsilon + (1 - \varepsilon)\,\sigma(r + 2)`, in
    :math:`(\varepsilon, 1)` with :math:`\varepsilon = 0.1`: neither direction scales by more than 10, and the actnorm
    of the next step sets the overall scale. It is computed as

    .. math:: s - 1 = -(1 - \varepsilon)\,\sigma(-r - 2), \qquad \log s = \mathrm{log1p}(s - 1)

    which is accurate at both ends. Identity at initialisation up to a constant scale, because the conditioner's last
    layer starts at zero.

    Args:
        num_channels: Channels :math:`C` of the input, at least 2.
        conditioner: From (B, C // 2, H, W) to (B, 2 (C - C // 2), H, W): the shift, then the raw scale.
        max_input: Bound of the conditioner's input, as in :class:`Coupling`; none if None.
    Shape:
        x, z: (B, C, H, W); context: (B, E), (B, E, H, W) or None, for the conditioner; log_det: (B,), nats.
    Raises:
        TypeError, ValueError: As :class:`Coupling`.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.3, and its code (sigmoid of the raw scale plus 2).
        The lower bound is ours.
    """

    outputs_per_channel = 2

    def interpret(self, output: Tensor) -> tuple[Tensor, ...]:
        """Return the shift and :math:`s - 1`."""
        shift, raw = output.chunk(2, dim=1)
        return shift, (MIN_SCALE - 1.0) * torch.sigmoid(-2.0 - raw)

    def transform(self, x_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Shift, then scale."""
        shift, scale_minus_one = theta
        return (x_b + shift) * (1.0 + scale_minus_one), scale_minus_one.log1p().flatten(1).sum(1)

    def inverse_transform(self, z_b: Tensor, *theta: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the scale, then the shift."""
        shift, scale_minus_one = theta
        return z_b / (1.0 + scale_minus_one) - shift, -scale_minus_one.log1p().flatten(1).sum(1)
