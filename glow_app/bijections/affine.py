"""Shift and scale: a diagonal Gaussian, as the map that whitens it."""

import torch
from torch import Tensor, nn

from glow_app.bijections.bijection import Bijection
from glow_app.bijections.coupling import bounded
from glow_app.bijections.elementwise import ElementwiseMap
from glow_app.nn import ZeroConv2d
from glow_app.nn.precision import full_precision
from glow_app.nn.shape_checks import require_image

MAX_LOG_SCALE = 4.0  # nats


class AffineMap(ElementwiseMap):
    r"""Shift and scale with parameters from a network: a Gaussian.

    .. math:: z = (x - \mu)\, e^{-s}, \qquad s = m \tanh(r / m), \qquad \theta = (\mu, r)

    The bound :math:`m` is 4 nats.

    References:
        MAF, Papamakarios et al. 2017, arXiv:1705.07057, section 3.1. The bound is ours.
    """

    @property
    def num_parameters(self) -> int:
        """The mean and the raw log-scale."""
        return 2

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Whiten."""
        mean, log_scale = self._mean_and_log_scale(parameters)
        return _whiten(x, mean, log_scale), -log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Colour."""
        mean, log_scale = self._mean_and_log_scale(parameters)
        return _colour(z, mean, log_scale), log_scale

    def _mean_and_log_scale(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = parameters.unbind(-1)
        return mean, bounded(raw, MAX_LOG_SCALE)


class DiagonalAffine(Bijection):
    r"""A diagonal Gaussian of which mean and scale are learned, one pair per channel, or functions of the context.

    .. math:: z = (x - \mu) \odot e^{-s}, \qquad \log|\det J| = -\sum s

    so that :math:`x \sim \mathcal N(\mu, e^{2s})` exactly when :math:`z \sim \mathcal N(0, I)`. Starts as the identity.

    One zero-initialised convolution of the context gives :math:`\mu` and r, and :math:`s = m \tanh(r / m)`. The bound
    :math:`m = 4` keeps samples from exploding at contexts unlike those of training.

    Args:
        num_channels: Channels :math:`C` of the input.
        context_features: Channels :math:`E` of the context; 0 for learned parameters.
        kernel_size: Side of the convolution's kernel: 3 for feature maps, 1 for vectors.
    Shape:
        x, z: (B, C, H, W); context: (B, E, H, W), or (B, E) with ``kernel_size=1``, or (1, E, H, W) for all of the
        batch; log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels, or the context is missing or of another shape.
    References:
        Glow, arXiv:1807.03039: the published code's ``prior`` and ``split2d_prior``; SRFlow, arXiv:2006.14200: its
        affine injector. The bound is ours.
    """

    def __init__(self, num_channels: int, context_features: int = 0, kernel_size: int = 3) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.context_features = context_features
        self.kernel_size = kernel_size
        if context_features:
            self.projection = ZeroConv2d(context_features, 2 * num_channels, kernel_size)
        else:
            self.mean = nn.Parameter(torch.zeros(num_channels, 1, 1))
            self.log_scale = nn.Parameter(torch.zeros(num_channels, 1, 1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten ``x``."""
        mean, log_scale, total = self._parameters_for(x, context)
        return _whiten(x, mean, log_scale), -total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Colour ``z``."""
        mean, log_scale, total = self._parameters_for(z, context)
        return _colour(z, mean, log_scale), total

    def _parameters_for(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mean, the log-scale, and the sum of the log-scale over each image, (B,)."""
        require_image("DiagonalAffine", x, self.num_channels)
        if not self.context_features:
            return self.mean, self.log_scale, (x.shape[2:].numel() * self.log_scale.sum()).expand(x.shape[0])
        context = self._checked(context, x)
        with full_precision(x.device):
            mean, raw = self.projection(context.to(x.dtype)).chunk(2, dim=1)
            log_scale = bounded(raw, MAX_LOG_SCALE)
        return mean, log_scale, log_scale.expand_as(x).flatten(1).sum(1)

    def _checked(self, context: Tensor | None, x: Tensor) -> Tensor:
        """Return the context as feature maps."""
        vector = (x.shape[0], self.context_features)
        feature_maps = (*vector, *x.shape[2:])
        expected = vector if self.kernel_size == 1 else feature_maps
        shape = None if context is None else tuple(context.shape)
        if context is None or shape not in (expected, feature_maps, (1, *feature_maps[1:])):
            raise ValueError(f"DiagonalAffine expects a context of shape {expected}, got {shape}")
        return context[:, :, None, None] if context.ndim == 2 else context


def _whiten(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return (x - mean) * (-log_scale).exp()


def _colour(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return z * log_scale.exp() + mean
