"""Glow's step as one would write it down first, for what the product does about it to be measured against."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections import ActNorm, Chain, InvertibleConv1x1
from glow_app.flows import Glow
from glow_app.nn import ActNormConv2d, ConvConditioner, ZeroConv2d

__all__ = ["LaidOutConditioner", "PlainConditioner", "set_apart"]


class PlainConditioner(ConvConditioner):
    """The paper's conditioner, which scales activations, in the layout in which they come."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""
        h = F.relu(_convolve_and_scale(self.first, x))
        h = F.relu(_convolve_and_scale(self.second, h))
        return _convolve_and_scale(self.last, h)


class LaidOutConditioner(PlainConditioner):
    """The same, with the channels of a pixel side by side."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""
        return super().forward(x.contiguous(memory_format=torch.channels_last), context)


class PlainActNorm(ActNorm):
    """Actnorm by itself."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Shift and scale ``x``."""
        bias, log_scale = self.bias_and_log_scale()
        z = (x + bias[:, None, None]) * log_scale.exp()[:, None, None]
        return z, (x.shape[2:].numel() * log_scale.sum()).expand(x.shape[0])


class PlainConv1x1(InvertibleConv1x1):
    """The 1x1 convolution by itself, as a convolution."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mix the channels of ``x``."""
        matrix, _, log_abs_det = self.affine()
        return F.conv2d(x, matrix[:, :, None, None]), (x.shape[2:].numel() * log_abs_det).expand(x.shape[0])


def set_apart(flow: Glow) -> None:
    """Let each step apply its actnorm and its 1x1 convolution one after the other; their parameters start anew."""
    for level in flow.levels:
        steps: Any = list(level.bijections)[1:]  # type: ignore[arg-type]
        for step in steps:
            channels = step.bijections[0].num_channels
            step.bijections[0] = Chain(PlainActNorm(channels), PlainConv1x1(channels))


def _convolve_and_scale(layer: ActNormConv2d | ZeroConv2d, x: Tensor) -> Tensor:
    weight, bias, log_scale = layer.weight_bias_and_log_scale()
    h = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    return (h + bias[:, None, None]) * (layer.gain * log_scale).exp()[:, None, None]
