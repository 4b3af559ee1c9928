"""Feature maps of a picture that conditions a flow."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConditionEncoder", "base_picture"]


class _Block(nn.Module):
    r"""Residual block: :math:`h + w_2 * a(w_1 * a(h))`, a being a leaky ReLU; the identity at initialisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.second(F.leaky_relu_(self.first(F.leaky_relu(h, 0.2)), 0.2))


class ConditionEncoder(nn.Module):
    r"""A residual network from a picture to one feature map per level of a flow, at the level's resolution.

    The picture is squeezed to half its sides, as by the first level; each further level averages 2x2 pixels. Each
    level has its own residual blocks. Features are bounded, :math:`\tanh`, so that a picture unlike those of training
    does not move couplings further than training did.

    Args:
        condition_channels: Channels of the picture.
        num_levels: Levels of the flow.
        features: Channels of each feature map.
        num_blocks: Residual blocks of the first level; the others have two each.
    Shape:
        condition: (B, condition_channels, H, W), H and W divisible by ``2**num_levels``; output: a list of
        (B, features, H_l, W_l), H_l and W_l half of H and W in the first level, a quarter in the second, and so on.
    References:
        SRFlow, Lugmayr et al. 2020, arXiv:2006.14200, whose encoder of the low-resolution picture has the same task.
    """

    def __init__(self, condition_channels: int, num_levels: int, features: int, num_blocks: int) -> None:
        super().__init__()
        widths = [4 * condition_channels, *[features] * num_levels]
        blocks = [num_blocks, *[2] * (num_levels - 1)]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, features, kernel_size=3, padding=1), *(_Block(features) for _ in range(number))
            )
            for (width, features), number in zip(pairwise(widths), blocks, strict=True)
        )

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return the feature maps, the finest first."""
        # Convolutions are faster in channels_last.
        h = F.pixel_unshuffle(condition, 2).contiguous(memory_format=torch.channels_last)
        maps = []
        for number, stage in enumerate(self.stages):
            h = stage(F.avg_pool2d(h, 2) if number else h)
            maps.append(h.tanh())
        return maps


def base_picture(condition: Tensor, num_channels: int) -> Tensor:
    """Return the channels of a condition that look like the image, or its first channel in all channels."""
    if condition.shape[1] >= num_channels:
        return condition[:, :num_channels]
    return condition[:, :1].expand(-1, num_channels, -1, -1)
