"""The difference of an image from an estimate of it in the context."""

import math

from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.nn.shape_checks import require_image

# The factor by which known differences are magnified: at 8 bits, noise of a standard deviation of 0.001 becomes 0.03.
_KNOWN = 24.0


class ContextDifference(Bijection):
    r"""The difference from the first channels of the context: :math:`z = (x - h_{1 \ldots C})\, k`.

    A flow that is given an estimate of the image then models only what the estimate leaves open. With a mask m in the
    next four channels of the context, of squeezed images, k is 24 where m is negative, which means that x is known up
    to dequantisation noise, and 1 elsewhere. Known and missing values then have similar magnitudes. Without a mask, k
    is 1.

    .. math:: \log|\det J| = \sum \log k

    Args:
        num_channels: Channels :math:`C` of the input.
        has_mask: Whether the context has a mask.
    Shape:
        x, z: (B, C, H, W); context: (B, E, H, W) or (1, E, H, W) with :math:`E \ge C`, or with a mask
        :math:`E \ge C + 4`; log_det: (B,), nats.
    Raises:
        ValueError: If the input has another number of channels, or the context is missing or of another shape; if there
            is a mask and the number of channels is not that of squeezed images.
    """

    def __init__(self, num_channels: int, has_mask: bool = False) -> None:
        super().__init__()
        if has_mask and num_channels % 4:
            raise ValueError(f"num_channels is {num_channels}; expected a multiple of 4, as squeezed images have")
        self.num_channels = num_channels
        self.has_mask = has_mask

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Subtract the context, and magnify what is known."""
        base, log_scale = self._base_and_log_scale(x, context)
        if log_scale is None:
            return x - base, x.new_zeros(x.shape[0])
        return (x - base) * log_scale.exp(), log_scale.expand_as(x).flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reduce what is known, and add the context."""
        base, log_scale = self._base_and_log_scale(z, context)
        if log_scale is None:
            return z + base, z.new_zeros(z.shape[0])
        return z * (-log_scale).exp() + base, -log_scale.expand_as(z).flatten(1).sum(1)

    def _base_and_log_scale(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        require_image("ContextDifference", x, self.num_channels)
        num = self.num_channels + 4 * self.has_mask
        first = None if context is None else context[:, :num].to(x.dtype)
        if first is None or first.shape[1:] != (num, *x.shape[2:]) or first.shape[0] not in (1, x.shape[0]):
            got = None if context is None else tuple(context.shape)
            raise ValueError(
                f"ContextDifference expects a context of shape (B, C, H, W) with C from {num}"
                f" and H, W of the input {tuple(x.shape)}, got {got}"
            )
        if not self.has_mask:
            return first, None
        base, mask = first.split([self.num_channels, 4], dim=1)
        return base, math.log(_KNOWN) * (mask < 0).to(x.dtype).repeat(1, self.num_channels // 4, 1, 1)
