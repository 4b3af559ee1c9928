"""Convolutions of the conditioners: one normalised by its first batch, one that starts at zero."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.data_dependent import DataDependentAffine

__all__ = ["ActNormConv2d", "ZeroConv2d"]


class ActNormConv2d(nn.Module):
    r"""Convolution followed by actnorm, computed as one convolution.

    .. math:: y = (w * x + b)\, e^{s} = (w\,e^{s}) * x + b\,e^{s}

    Scaling the weights instead of the activations costs nothing next to the convolution. The original code
    has actnorm inside its couplings, though the paper does not say so: without it training starts far slower.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel; the output keeps the spatial size.
    Shape:
        x: (B, in_channels, H, W); output: (B, out_channels, H, W).
    References:
        Glow, arXiv:1807.03039, and its code, openai/glow ``tfops.conv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(0.05 * torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.norm = DataDependentAffine(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised convolution of ``x``."""
        return F.conv2d(x, *self.weight_and_bias(), padding=self.padding)

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the one convolution that this is."""
        self.norm.require_initialized()
        scale = self.norm.log_scale.exp()
        return self.weight * scale[:, None, None, None], self.norm.bias * scale

    def initialize(self, x: Tensor) -> Tensor:
        """Normalise the convolution of the batch ``x`` and return it."""
        self.norm.initialize_parameters(F.conv2d(x, self.weight, padding=self.padding))
        return self(x)


class ZeroConv2d(nn.Module):
    r"""Convolution that starts at zero, with a learned output gain.

    .. math:: y = (w * x + b)\, e^{3 s}, \qquad w = b = s = 0 \text{ at initialisation}

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd side of the kernel; the output keeps the spatial size.
    Shape:
        x: (B, in_channels, H, W); output: (B, out_channels, H, W).
    References:
        Glow, arXiv:1807.03039, section 3.3 (zero initialisation); the factor 3 is the published code's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.padding = kernel_size // 2
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.log_scale = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled convolution of ``x``."""
        return F.conv2d(x, *self.weight_and_bias(), padding=self.padding)

    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the one convolution that this is."""
        scale = (3.0 * self.log_scale).exp()
        return self.weight * scale[:, None, None, None], self.bias * scale
