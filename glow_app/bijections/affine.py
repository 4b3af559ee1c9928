"""Diagonal Gaussians as bijections onto N(0, I): with learned parameters, or parameters from a context."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glow_app.bijections.bijection import Bijection
from glow_app.nn import ZeroConv2d
from glow_app.nn.precision import full_precision
from glow_app.nn.shape_checks import require_image

_MAX_LOG_SCALE = 4.0  # nats

# The factor by which known differences are magnified: at 8 bits, noise of a standard deviation of 0.001 becomes 0.03.
_KNOWN = 24.0


class DiagonalAffine(Bijection):
    r"""A learned diagonal Gaussian, as the bijection that whitens it.

    .. math:: z = (x - \mu) \odot e^{-s}, \qquad \log|\det J| = -\sum s

    so that :math:`x \sim \mathcal N(\mu, e^{2s})` exactly when :math:`z \sim \mathcal N(0, I)`. Starts as the identity.

    Args:
        shape: Shape of mean and log-scale, without the batch; broadcasts to the input, such as ``(C, 1, 1)`` for one
            Gaussian per channel.
    Shape:
        x, z: (B, ...) to which ``shape`` broadcasts; log_det: (B,), nats.
    Raises:
        ValueError: If ``shape`` does not broadcast to the input.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(*shape))
        self.log_scale = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten ``x``."""
        log_det = -self._sum_log_scale(x)
        return (x - self.mean) * (-self.log_scale).exp(), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Colour ``z``."""
        log_det = self._sum_log_scale(z)
        return z * self.log_scale.exp() + self.mean, log_det

    def _sum_log_scale(self, x: Tensor) -> Tensor:
        shape = tuple(self.log_scale.shape)
        if len(shape) != x.ndim - 1 or any(s not in (1, n) for s, n in zip(shape, x.shape[1:], strict=True)):
            raise ValueError(f"DiagonalAffine of shape {shape} does not fit an input of shape {tuple(x.shape)}")
        repeats = math.prod(x.shape[1:]) // self.log_scale.numel()
        return (repeats * self.log_scale.sum()).expand(x.shape[0])


class ConditionalAffine(Bijection):
    r"""A diagonal Gaussian whose mean and scale depend on the context.

    The prior of a split half given the kept half, and of all channels given the features of a picture.

    .. math:: z = (x - \mu(h)) \odot e^{-s(h)}, \qquad \log|\det J| = -\sum s(h), \qquad
              s = m \tanh(r / m)

    One zero-initialised convolution gives :math:`(\mu, r)`, so it starts as the identity. The bound :math:`m = 4` on
    the log-scale keeps samples from exploding at contexts unlike those of training.

    Args:
        num_channels: Channels of the input.
        context_features: Channels :math:`E` of the context.
        kernel_size: Side of the convolution's kernel: 3 for feature maps, 1 for vectors.
    Shape:
        x, z: (B, num_channels, H, W); context: (B, E, H, W), or (B, E) with ``kernel_size=1``, or (1, E, H, W) for all
        of the batch; log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels, or the context is missing or of another shape.
    References:
        Glow, arXiv:1807.03039: the published code's ``split2d_prior``; SRFlow, arXiv:2006.14200: its affine injector.
        The bound is ours.
    """

    def __init__(self, num_channels: int, context_features: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.context_features = context_features
        self.kernel_size = kernel_size
        self.projection = ZeroConv2d(context_features, 2 * num_channels, kernel_size)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten ``x`` given the context."""
        mean, log_scale = self._mean_and_log_scale(x, context)
        return (x - mean) * (-log_scale).exp(), -log_scale.expand_as(x).flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Colour ``z`` given the context."""
        mean, log_scale = self._mean_and_log_scale(z, context)
        return z * log_scale.exp() + mean, log_scale.expand_as(z).flatten(1).sum(1)

    def _mean_and_log_scale(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        require_image("ConditionalAffine", x, self.num_channels)
        vector = (x.shape[0], self.context_features)
        expected = vector if self.kernel_size == 1 else (*vector, *x.shape[2:])
        shape = None if context is None else tuple(context.shape)
        if context is None or shape not in (expected, (*vector, *x.shape[2:]), (1, *vector[1:], *x.shape[2:])):
            raise ValueError(f"ConditionalAffine expects a context of shape {expected}, got {shape}")
        if context.ndim == 2:
            context = context[:, :, None, None]
        with full_precision(x.device):
            mean, raw = self.projection(context.to(x.dtype)).chunk(2, dim=1)
            return mean, _MAX_LOG_SCALE * torch.tanh(raw / _MAX_LOG_SCALE)


class ContextDifference(Bijection):
    r"""The difference from the first channels of the context: :math:`z = (x - h_{1 \ldots C})\, k`.

    A flow given an estimate of the image then starts from what the estimate leaves open. With a mask m in the next four
    channels of the context, of squeezed images, k is 24 where m is negative, which means that x is known up to
    dequantisation noise, and 1 elsewhere. Known and missing values then have about one size. Without a mask, k is 1.

    .. math:: \log|\det J| = \sum \log k

    Args:
        num_channels: Channels :math:`C` of the input.
        has_mask: Whether the context has a mask.
    Shape:
        x, z: (B, C, H, W); context: (B, E, H, W) or (1, E, H, W) with :math:`E \ge C`, or with a mask
        :math:`E \ge C + 4`; log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels, or the context is missing or of another shape; if there is a mask
            and the number of channels is not that of squeezed images.
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
