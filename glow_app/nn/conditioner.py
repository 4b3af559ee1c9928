"""The contract of a conditioner, the network inside a bijection; and that of the Glow paper."""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.context import ContextShift
from glow_app.nn.convolutions import ActNormConv2d, ZeroConv2d
from glow_app.spec import register


class Conditioner(nn.Module, ABC):
    r"""A network from one part of the data to the parameters of a bijection on the other part.

    It is never inverted, so any network will do. Its output is zero at initialisation, so that the bijection starts
    close to the identity.

    Shape:
        x: (B, in_channels, H, W); context: (B, E), (B, E, H, W) or None; output: (B, out_channels, H, W).
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""

    @abstractmethod
    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Initialise data-dependent parameters from the batch ``x`` and return ``forward(x, context)``."""


@register("conv")
class ConvConditioner(Conditioner):
    r"""The paper's network: 3x3, ReLU, 1x1, ReLU, zero-initialised 3x3, with actnorm after the first two convolutions.

    Args:
        in_channels: Channels of the conditioning half.
        out_channels: Parameters per pixel.
        hidden_channels: Width; 512 in the paper.
        context_features: Size :math:`E` of the context, added to the first layer through a linear map; 0 for none.
    Shape:
        x: (B, in_channels, H, W); context: (B, E), (B, E, H, W) or None; output: (B, out_channels, H, W).
    References:
        Glow, arXiv:1807.03039, section 5.
    """

    def __init__(self, in_channels: int, out_channels: int, hidden_channels: int, context_features: int = 0) -> None:
        super().__init__()
        self.first = ActNormConv2d(in_channels, hidden_channels, kernel_size=3)
        self.from_context = ContextShift(context_features, hidden_channels) if context_features else None
        self.second = ActNormConv2d(hidden_channels, hidden_channels, kernel_size=1)
        self.last = ZeroConv2d(hidden_channels, out_channels, kernel_size=3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""
        h = self._activate(self.first(x), context)
        return self.last(F.relu_(self.second(h)))

    def context_shift(self, context: Tensor | None) -> Tensor | None:
        """Return the shift of the first convolution's output, or None without a context."""
        if self.from_context is None:
            return None
        return self.from_context(context)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Normalise both hidden layers on the batch ``x`` and return ``forward(x, context)``."""
        h = self._activate(self.first.initialize(x), context)
        return self.last(F.relu_(self.second.initialize(h)))

    def _activate(self, h: Tensor, context: Tensor | None) -> Tensor:
        shift = self.context_shift(context)
        if shift is not None:
            h += shift
        return F.relu_(h)
