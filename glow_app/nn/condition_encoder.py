"""Feature maps of a picture that conditions a flow."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.convolutions import ZeroConv2d

__all__ = ["ConditionEncoder", "base_picture"]


# The unit of corrections, relative to the range of the image: they are then of about unit size.
_CORRECTION = 1 / 16


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


class _Up(nn.Module):
    """Adds features of the next coarser level, enlarged, and applies residual blocks."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(channels, channels, kernel_size=1)
        self.blocks = nn.Sequential(*(_Block(channels) for _ in range(num_blocks)))

    def forward(self, h: Tensor, coarser: Tensor) -> Tensor:
        return self.blocks(h + F.interpolate(self.coarse(coarser), scale_factor=2.0))


class ConditionEncoder(nn.Module):
    r"""A residual network from a picture to the context of a flow: one feature map per level, at its resolution.

    The picture is squeezed to half its sides, as by the first level; each further level averages 2x2 pixels. On the way
    back, each level adds the features of the next coarser one, enlarged; half of its residual blocks come before that,
    half after. Features are bounded, :math:`\tanh`, so that a picture unlike those of training does not move couplings
    further than training did.

    The first feature map begins with the squeezed :func:`base_picture`, the squeezed mask if there is one, and a
    correction of the picture, which is a zero-initialised convolution of the level's last block and 0 where the mask
    says that the picture is known; it is not bounded. :meth:`estimate` adds it to the picture.

    Args:
        condition_channels: Channels of the picture, and of its mask.
        num_channels: Channels :math:`C` of the image.
        num_levels: Levels of the flow.
        features: Channels :math:`F` of each feature map, without those that the first begins with.
        num_blocks: Residual blocks of each level.
        has_mask: Whether the last channel of the condition is a mask.
        estimates: Whether there is a correction.
    Attributes:
        num_features: Channels of the feature map of each level.
    Shape:
        condition: (B, condition_channels, H, W), H and W divisible by ``2**num_levels``; output: a list of
        (B, E_l, H_l, W_l), H_l and W_l half of H and W in the first level, a quarter in the second, and so on.
    References:
        The task: SRFlow, Lugmayr et al. 2020, arXiv:2006.14200. Its shape: U-Net, Ronneberger et al. 2015,
        arXiv:1505.04597.
    """

    def __init__(
        self,
        condition_channels: int,
        num_channels: int,
        num_levels: int,
        features: int,
        num_blocks: int,
        has_mask: bool = False,
        estimates: bool = True,
    ) -> None:
        super().__init__()
        widths = [4 * condition_channels, *[features] * num_levels]
        after = [num_blocks // 2] * (num_levels - 1) + [0]
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, features, kernel_size=3, padding=1),
                *(_Block(features) for _ in range(num_blocks - later)),
            )
            for (width, features), later in zip(pairwise(widths), after, strict=True)
        )
        self.up = nn.ModuleList(_Up(features, later) for later in after[:-1])
        self.correction = ZeroConv2d(features, 4 * num_channels, kernel_size=3) if estimates else None
        self.num_channels, self.has_mask = num_channels, has_mask
        # Of picture, mask and correction.
        self._sizes = [4 * num_channels, 4 * has_mask, 4 * num_channels * estimates]
        self.num_features = [sum(self._sizes) + features, *[features] * (num_levels - 1)]

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return the feature maps, the finest first."""
        # Convolutions are faster in channels_last.
        h = F.pixel_unshuffle(condition, 2).contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for down in self.down:
            levels.append(down(F.avg_pool2d(levels[-1], 2) if levels else h))
        for number in reversed(range(len(self.up))):
            levels[number] = self.up[number](levels[number], levels[number + 1])
        parts = [F.pixel_unshuffle(base_picture(condition, self.num_channels), 2)]
        if self.has_mask:
            parts.append(F.pixel_unshuffle(condition[:, -1:], 2))
        if self.correction is not None:
            correction = self.correction(levels[0])
            if self.has_mask:
                correction = correction * (parts[1] > 0).repeat(1, self.num_channels, 1, 1)
            parts.append(correction)
        maps = [torch.cat([*parts, levels[0].tanh()], dim=1), *[h.tanh() for h in levels[1:]]]
        return [each.contiguous(memory_format=torch.channels_last) for each in maps]

    def estimate(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the estimate of the image, (B, C, H, W), from the feature maps: the picture with its correction."""
        picture, _, correction = maps[0][:, : sum(self._sizes)].split(self._sizes, dim=1)
        return F.pixel_shuffle(picture + _CORRECTION * correction, 2)

    def for_flow(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the feature maps with the correction detached.

        The gradient of the flow, which is large where the flow is certain, would move the correction in steps larger
        than its error.
        """
        start, end = sum(self._sizes[:2]), sum(self._sizes)
        parts = [maps[0][:, :start], maps[0][:, start:end].detach(), maps[0][:, end:]]
        return [torch.cat(parts, dim=1), *maps[1:]]


def base_picture(condition: Tensor, num_channels: int) -> Tensor:
    """Return the channels of a condition that look like the image, or its first channel in all channels."""
    if condition.shape[1] >= num_channels:
        return condition[:, :num_channels]
    return condition[:, :1].expand(-1, num_channels, -1, -1)
