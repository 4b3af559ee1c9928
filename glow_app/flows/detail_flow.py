"""A detail level of a wavelet flow: details of an image, given the means of its 2x2 pixels."""

from collections.abc import Sequence

from torch import Tensor

from glow_app.bijections import Bijection, DiagonalAffine
from glow_app.flows.multiscale import Level
from glow_app.nn import FeatureNetwork


class DetailFlow(Bijection):
    r"""The details of a level of wavelets, given its low band.

    Feature maps of the low band are the context of the steps, and of a shift and scale before and after them.

    Args:
        num_channels: Channels :math:`C` of the low band; the details have three times as many.
        context_features: Size :math:`E` of what else is known; 0 for nothing.
        steps: Bijections of the details, given the feature maps.
        features: Channels of the feature maps.
        num_blocks: Residual blocks of the network from the low band to the feature maps.
    Shape:
        x, z: (B, 3C, H, W); context: (B, C + E, H, W), the low band and then what else is known; log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels, or the context is missing or of another shape.
    References:
        Wavelet Flow, arXiv:2010.13821, section 3.2, with Glow's 1x1 convolutions and a deeper network of the low band.
    """

    def __init__(
        self, num_channels: int, context_features: int, steps: Sequence[Bijection], features: int, num_blocks: int
    ) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.network = FeatureNetwork(num_channels, context_features, features, num_blocks)
        first, last = (DiagonalAffine(3 * num_channels, features) for _ in range(2))
        self.level = Level(first, *steps, last)

    def feature_maps(self, context: Tensor | None) -> Tensor:
        """Return the feature maps of the low band, (B, features, H, W)."""
        if context is None or context.ndim != 4 or context.shape[1] < self.num_channels:
            got = None if context is None else tuple(context.shape)
            raise ValueError(f"DetailFlow expects a context of shape (B, {self.num_channels} + E, H, W), got {got}")
        return self.network(context[:, : self.num_channels], context[:, self.num_channels :])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map details to latents."""
        return self.level(x, self.feature_maps(context))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latents to details."""
        return self.level.inverse(z, self.feature_maps(context))

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the latents of details."""
        return self.level.encode(x, self.feature_maps(context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the details of latents."""
        return self.level.decode(z, self.feature_maps(context))

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Initialise the steps on the details ``x``, given the low band, and return ``forward(x, context)``."""
        return self.level.initialize(x, self.feature_maps(context))
