"""Feature maps of a picture that conditions a flow."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.convolutions import ZeroConv2d
from glow_app.nn.feature_network import ResidualBlock, normalised

# The unit of corrections, relative to the range of the image: in it, they are of about unit size.
_CORRECTION = 1 / 16


class _Up(nn.Module):
    """Adds features of the next coarser level, enlarged, and applies residual blocks."""

    def __init__(self, channels: int, num_blocks: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(channels, channels, kernel_size=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(num_blocks)))

    def forward(self, h: Tensor, coarser: Tensor) -> Tensor:
        return self.blocks(h + F.interpolate(self.coarse(normalised(coarser)), scale_factor=2.0))


class ConditionEncoder(nn.Module):
    r"""A residual network from a picture to the context of a flow: one feature map per level, at its resolution.

    The picture is squeezed to half its sides, as by the first level; each further level averages 2x2 pixels. On the way
    back, each level adds the features of the next coarser one, enlarged; half of its residual blocks come before that,
    half after. Features are bounded by :math:`\tanh`, so that a picture unlike those of training moves couplings no
    further than training did.

    All of it learns from :meth:`estimate` and is then frozen, except for one more residual block per level, the head,
    which learns with the flow: no other gradient of ``forward`` reaches the parameters.

    The first feature map begins with an estimate of the image, squeezed, and the squeezed mask if there is one. The
    estimate is :func:`base_picture` plus a zero-initialised convolution of the level's features, which counts only
    where no mask says that the picture is known.

    Args:
        condition_channels: Channels of the picture, and of its mask.
        num_channels: Channels :math:`C` of the image.
        features: Channels :math:`F` of each feature map, without those that the first begins with.
        num_blocks: Residual blocks of each level, without the head.
        has_mask: Whether the last channel of the condition is a mask.
    Attributes:
        num_features: Channels of the feature map of each level.
        trained: A boolean scalar, saved with the weights: whether the estimate is frozen and the flow is trained.
    Shape:
        condition: (B, condition_channels, H, W), H and W divisible by ``2**num_levels``; output: a list of
        (B, E_l, H_l, W_l), H_l and W_l half of H and W in the first level, a quarter in the second, and so on.
    Raises:
        ValueError: If the condition is missing or has another number of channels.
    References:
        The task: SRFlow, Lugmayr et al. 2020, arXiv:2006.14200. Its shape: U-Net, Ronneberger et al. 2015,
        arXiv:1505.04597.
    """

    trained: Tensor

    def __init__(
        self,
        condition_channels: int,
        num_channels: int,
        num_levels: int,
        features: int,
        num_blocks: int,
        has_mask: bool = False,
    ) -> None:
        super().__init__()
        widths = [4 * condition_channels, *[features] * num_levels]
        after = [num_blocks // 2] * (num_levels - 1) + [0]
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, features, kernel_size=3, padding=1),
                *(ResidualBlock(features) for _ in range(num_blocks - later)),
            )
            for (width, features), later in zip(pairwise(widths), after, strict=True)
        )
        self.up = nn.ModuleList(_Up(features, later) for later in after[:-1])
        self.correction = ZeroConv2d(features, 4 * num_channels, kernel_size=3)
        self.condition_channels, self.num_channels, self.has_mask = condition_channels, num_channels, has_mask
        self.num_features = [4 * num_channels + 4 * has_mask + features, *[features] * (num_levels - 1)]
        self.heads = nn.ModuleList(ResidualBlock(features) for _ in range(num_levels))
        self.register_buffer("trained", torch.tensor(False))

    def forward(self, condition: Tensor | None) -> list[Tensor]:
        """Return the feature maps, the finest first."""
        condition = self._checked(condition)
        with torch.no_grad():
            levels, estimate = self._levels(condition)
        maps = [head(normalised(h)).tanh() for head, h in zip(self.heads, levels, strict=True)]
        mask = [F.pixel_unshuffle(condition[:, -1:], 2)] * self.has_mask
        maps[0] = torch.cat([estimate, *mask, maps[0]], dim=1)
        return [each.contiguous(memory_format=torch.channels_last) for each in maps]

    def estimate(self, condition: Tensor | None) -> Tensor:
        """Return the estimate of the image, (B, C, H, W)."""
        return F.pixel_shuffle(self._levels(self._checked(condition))[1], 2)

    def _checked(self, condition: Tensor | None) -> Tensor:
        if condition is None or condition.ndim != 4 or condition.shape[1] != self.condition_channels:
            got = "none" if condition is None else f"shape {tuple(condition.shape)}"
            raise ValueError(f"this model needs a condition of shape (B, {self.condition_channels}, H, W), got {got}")
        return condition

    def _levels(self, condition: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the features of each level, and the squeezed estimate."""
        # Convolutions are faster in channels_last.
        h = F.pixel_unshuffle(condition, 2).contiguous(memory_format=torch.channels_last)
        levels: list[Tensor] = []
        for down in self.down:
            levels.append(down(F.avg_pool2d(levels[-1], 2) if levels else h))
        for number in reversed(range(len(self.up))):
            levels[number] = self.up[number](levels[number], levels[number + 1])
        correction = _CORRECTION * self.correction(normalised(levels[0]))
        if self.has_mask:
            missing = F.pixel_unshuffle(condition[:, -1:], 2) > 0
            correction = correction * missing.repeat(1, self.num_channels, 1, 1)
        return levels, F.pixel_unshuffle(base_picture(condition, self.num_channels), 2) + correction


def base_picture(condition: Tensor, num_channels: int) -> Tensor:
    """Return the channels of a condition that look like the image, or its first channel in all channels."""
    if condition.shape[1] >= num_channels:
        return condition[:, :num_channels]
    return condition[:, :1].expand(-1, num_channels, -1, -1)
