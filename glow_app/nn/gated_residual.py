"""A gated residual conditioner: more depth at less width."""

import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.nn.conditioner import Conditioner
from glow_app.nn.context import ContextShift
from glow_app.nn.convolutions import ActNormConv2d, ZeroConv2d
from glow_app.nn.shape_checks import require_at_least


class _Block(nn.Module):
    r"""Pre-activation residual block: :math:`h + a \odot \sigma(g)`, with (a, g) two convolutions from h."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ActNormConv2d(channels, channels, kernel_size=3)
        self.gate = ActNormConv2d(channels, 2 * channels, kernel_size=1)

    def forward(self, h: Tensor) -> Tensor:
        return h + F.glu(self.gate(F.relu_(self.conv(F.relu(h)))), dim=1)

    def initialize(self, h: Tensor) -> Tensor:
        self.gate.initialize(F.relu_(self.conv.initialize(F.relu(h))))
        return self(h)


class GatedResidualConditioner(Conditioner):
    r"""Convolution, gated residual blocks, zero-initialised convolution.

    Args:
        in_channels: Channels of the conditioning half.
        out_channels: Parameters per pixel.
        hidden_channels: Width; 96 in the paper.
        context_features: Size :math:`E` of the context, added before the blocks through a linear map; 0 for none.
        num_blocks: Residual blocks.
    Shape:
        x: (B, in_channels, H, W); context: (B, E), (B, E, H, W) or None; output: (B, out_channels, H, W).
    References:
        Neural Spline Flows, Durkan et al. 2019, arXiv:1906.04032, appendix B.3: with such a net the affine baseline
        reached 3.41 bits/dim on CIFAR-10 with 11M parameters. Gates after Flow++, arXiv:1902.00275.
    """

    def __init__(
        self, in_channels: int, out_channels: int, hidden_channels: int, context_features: int = 0, num_blocks: int = 2
    ) -> None:
        super().__init__()
        require_at_least(1, num_blocks=num_blocks)
        self.first = ActNormConv2d(in_channels, hidden_channels, kernel_size=3)
        self.from_context = ContextShift(context_features, hidden_channels) if context_features else None
        self.blocks = nn.ModuleList(_Block(hidden_channels) for _ in range(num_blocks))
        self.last = ZeroConv2d(hidden_channels, out_channels, kernel_size=3)

    @property
    def config(self) -> dict[str, object]:
        """The number of blocks."""
        return {"num_blocks": len(self.blocks)}

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters for ``x``."""
        h = self._add_context(self.first(x), context)
        for block in self.blocks:
            h = block(h)
        return self.last(F.relu_(h))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Normalise every layer on the batch ``x`` and return ``forward(x, context)``."""
        h = self._add_context(self.first.initialize(x), context)
        for block in self.blocks:
            assert isinstance(block, _Block)
            h = block.initialize(h)
        return self.last(F.relu_(h))

    def _add_context(self, h: Tensor, context: Tensor | None) -> Tensor:
        if self.from_context is None:
            return h
        return h + self.from_context(context)
