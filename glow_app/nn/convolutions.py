"""Convolutions of the conditioners: normalised by the first batch, or initialised to zero."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.data_dependent import DataDependentAffine


class _ScaledConv2d(nn.Module, ABC):
    r"""Convolution with a scale per output, :math:`e^{g s}`, multiplied into its weights; g is the ``gain``."""

    gain: float

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled convolution of ``x``."""
        return _convolve(x, *self.weight_and_bias())

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias with the scale multiplied in."""
        weight, bias, log_scale = self.weight_bias_and_log_scale()
        scale = (self.gain * log_scale).exp()
        return weight * scale[:, None, None, None], bias * scale

    @abstractmethod
    def weight_bias_and_log_scale(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return :math:`w`, :math:`b` and :math:`s`."""


class ActNormConv2d(_ScaledConv2d):
    r"""Convolution followed by actnorm, computed as one convolution.

    .. math:: y = (w * x + b)\, e^{s} = (w\,e^{s}) * x + b\,e^{s}

    Scaling the weights instead of the activations is almost free. The published code has actnorm inside its
    couplings, which the paper does not mention: without it training starts far more slowly.

    Args:
        kernel_size: Odd side of the kernel; the output keeps the spatial size.
    Shape:
        x: (B, in_channels, H, W); output: (B, out_channels, H, W).
    References:
        Glow, arXiv:1807.03039, and its code, openai/glow ``tfops.conv2d``.
    """

    gain = 1.0

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        if not self.weight.is_meta:  # arithmetic on the meta device takes seconds to import
            nn.init.normal_(self.weight, std=0.05)
        self.norm = DataDependentAffine(out_channels)

    def weight_bias_and_log_scale(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return :math:`w`, :math:`b` and :math:`s`."""
        self.norm.require_initialized()
        return self.weight, self.norm.bias, self.norm.log_scale

    def initialize(self, x: Tensor) -> Tensor:
        """Normalise the convolution of the batch ``x`` and return it."""
        self.norm.initialize_parameters(_convolve(x, self.weight))
        return self(x)


class ZeroConv2d(_ScaledConv2d):
    r"""Convolution that starts at zero, with a learned output gain.

    .. math:: y = (w * x + b)\, e^{3 s}, \qquad w = b = s = 0 \text{ at initialisation}

    Args:
        kernel_size: Odd side of the kernel; the output keeps the spatial size.
    Shape:
        x: (B, in_channels, H, W); output: (B, out_channels, H, W).
    References:
        Glow, arXiv:1807.03039, section 3.3 (zero initialisation); the factor 3 is the published code's.
    """

    gain = 3.0

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def weight_bias_and_log_scale(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return :math:`w`, :math:`b` and :math:`s`."""
        return self.weight, self.bias, self.log_scale


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not inside_torch_func():
        # CPU convolutions are up to six times as fast in channels_last.
        x = x.contiguous(memory_format=torch.channels_last)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def inside_torch_func() -> bool:
    """Return whether ``torch.func.vmap``, ``grad``, ``jacrev`` or the like transforms the current computation.

    They support neither memory formats nor the autograd functions of this project, so both are left out inside.
    """
    return not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
