"""A residual network from the low band of a picture to feature maps."""

import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.context import ContextShift

_SCALE = 4.0  # pixels of [-1/2, 1/2) to about unit variance


def normalised(h: Tensor) -> Tensor:
    """Return features with mean 0 and variance 1 at each pixel, so that no other pixel, and no window, matters."""
    return F.layer_norm(h.permute(0, 2, 3, 1), h.shape[1:2]).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    r"""Residual block: :math:`h + w_2 * a(w_1 * n(h))`, a being a leaky ReLU and n :func:`normalised`.

    The identity at initialisation. Without n, features grow until nothing is learnt.

    Args:
        channels: Channels of the feature maps.
    Shape:
        h, output: (B, channels, H, W).
    References:
        Xiong et al. 2020, On Layer Normalization in the Transformer Architecture, arXiv:2002.04745.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        nn.init.zeros_(self.second.weight)
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor) -> Tensor:
        """Return the features with the block's correction."""
        return h + self.second(F.leaky_relu_(self.first(normalised(h)), 0.2))


class FeatureNetwork(nn.Module):
    r"""Feature maps of an image of few channels, such as the low band of a wavelet, bounded by :math:`\tanh`.

    A convolution, residual blocks, and :math:`\tanh` of the normalised features: an image unlike those of training does
    not move couplings further than training did.

    Args:
        in_channels: Channels of the image.
        context_features: Size :math:`E` of what else is known, added after the first convolution through a linear map;
            0 for nothing.
        features: Channels :math:`F` of the feature maps.
        num_blocks: Residual blocks.
    Shape:
        x: (B, in_channels, H, W), in [-1/2, 1/2); context: (B, E, H, W), or None; output: (B, F, H, W).
    """

    def __init__(self, in_channels: int, context_features: int, features: int, num_blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, features, kernel_size=3, padding=1)
        self.from_context = ContextShift(context_features, features) if context_features else None
        self.blocks = nn.Sequential(*(ResidualBlock(features) for _ in range(num_blocks)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the feature maps."""
        h = self.first(_SCALE * x)
        if self.from_context is not None:
            h = h + self.from_context(context)
        return normalised(self.blocks(h)).tanh()
