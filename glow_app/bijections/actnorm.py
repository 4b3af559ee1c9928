"""Activation normalisation."""

import torch
from torch import Tensor

from glow_app.bijections.pixelwise import PixelwiseAffine
from glow_app.nn import DataDependentAffine


class ActNorm(PixelwiseAffine):
    r"""Scale and shift per channel, initialised so that the output of the first batch has zero mean and unit variance.

    .. math:: z = (x + b) \odot e^{s}, \qquad \log|\det J| = H W \sum_c s_c

    Unlike batch normalisation it is an ordinary affine layer after that first batch, the same in training and
    evaluation and for every batch size.

    Args:
        num_channels: Channels :math:`C`.
        learned: Whether scale and shift are trained; otherwise they stay as the first batch set them.
    Shape:
        x, z: (B, C, H, W); log_det: (B,), nats.
    Raises:
        ValueError: If the input has other channels.
        RuntimeError: If used before ``initialize`` or loading weights.
    References:
        Glow, Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1.
    """

    def __init__(self, num_channels: int, learned: bool = True) -> None:
        super().__init__(num_channels)
        self.norm = DataDependentAffine(num_channels, learned)

    @property
    def initialized(self) -> Tensor:
        """Whether a batch has set the parameters, a boolean scalar saved with the weights."""
        return self.norm.initialized

    def affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`\mathrm{diag}(e^s)`, :math:`b e^s` and :math:`\sum s`."""
        bias, log_scale = self.bias_and_log_scale()
        scale = log_scale.exp()
        return torch.diag(scale), bias * scale, log_scale.sum()

    def inverse_affine(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return :math:`\mathrm{diag}(e^{-s})`, :math:`-b` and :math:`-\sum s`."""
        bias, log_scale = self.bias_and_log_scale()
        return torch.diag((-log_scale).exp()), -bias, -log_scale.sum()

    def initialize(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalise the whole batch ``x`` and return ``forward(x)``; a second call changes nothing."""
        self.norm.initialize_parameters(x)
        return self.forward(x, context)

    def bias_and_log_scale(self) -> tuple[Tensor, Tensor]:
        """Return :math:`b` and :math:`s`, each (C,)."""
        self.norm.require_initialized()
        return self.norm.bias, self.norm.log_scale
