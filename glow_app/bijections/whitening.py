"""Actnorm and 1x1 convolution, initialised to whiten the first batch."""

import torch
from torch import Tensor

from glow_app.bijections.actnorm import ActNorm
from glow_app.bijections.conv1x1 import InvertibleConv1x1
from glow_app.bijections.pixelwise import PixelwiseChain
from glow_app.nn.data_dependent import whole_batch
from glow_app.nn.precision import widen

# Variance, relative to the largest, below which a direction counts as empty. For photographs, 8-bit dequantisation
# noise has 2e-6.
MIN_VARIANCE = 1e-9


class Whitening(PixelwiseChain):
    r"""Actnorm and invertible 1x1 convolution, initialised so that the output channels of the first batch are white.

    .. math:: z = W x', \qquad W = \mathrm{diag}(\lambda)^{-1/2} V^T

    where :math:`x'` is the actnorm's output for the batch, and :math:`V \mathrm{diag}(\lambda) V^T` the covariance of
    its channels over images and pixels. Rows are sorted by decreasing variance, so the half that a coupling
    leaves unchanged, and that is kept at a split, has the large components. Trained like any other such pair.

    While all conditioners are zero the flow is linear, and this is the best linear map of a pixel. The initial random
    rotation is kept where the batch does not determine the covariance: with fewer pixels than twice the channels, or
    where a channel is a linear function of the others.

    Args:
        num_channels: Channels :math:`C`.
    Shape:
        x, z: (B, C, H, W); context: ignored; log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels.
        RuntimeError: If used before ``initialize`` or loading weights.
    References:
        Ours. The matrix is that of principal component analysis.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__(ActNorm(num_channels), InvertibleConv1x1(num_channels))

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whiten the whole batch ``x`` and return ``forward(x)``; a second call changes nothing."""
        norm, mixing = self.bijections
        assert isinstance(norm, ActNorm)
        assert isinstance(mixing, InvertibleConv1x1)
        if not norm.initialized:
            normalised, _ = norm.initialize(x)
            weight = _whitening(normalised)
            if weight is not None:
                mixing.set_weight(weight)
        return self.forward(x, context)


def _whitening(x: Tensor) -> Tensor | None:
    """Return the matrix that whitens the channels of the whole batch, (C, C), or None if there is none."""
    values = widen(x).transpose(0, 1).flatten(1)
    channels, count = values.shape
    sums = whole_batch(torch.cat([(values @ values.T).flatten(), values.new_tensor([float(count)])])).cpu().double()
    total = float(sums[-1])
    variances, vectors = torch.linalg.eigh(sums[:-1].view(channels, channels) / total)
    if total < 2 * channels or variances[0] <= MIN_VARIANCE * variances[-1]:
        return None
    # The largest first, and with a deterministic sign.
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    return (vectors / variances.sqrt()).flip(1).T
