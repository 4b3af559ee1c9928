"""Likelihoods and errors of a restoration model's estimate."""

import math

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.models.image_model import ImageModel
from glow_app.restoration.picture_conditioning import picture_conditioning_of

# Standard deviation of further noise in the loss of the estimate, relative to the range of images. Without it, images
# that need hardly any change have by far the largest gradients.
_NOISE = 4 / 256


def estimate_bits(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return bits/dim of a Gaussian around the encoder's estimate m, (B,), with the mean squared error as variance.

    .. math:: n + \frac{1}{2} \log_2 (2 \pi e\, (\overline{(y - m)^2} + s^2))

    This is the value expected of images with further noise of a standard deviation s of 4 grey levels.
    """
    error = model.dequantised(images, generator) - picture_conditioning_of(model).estimate(given)
    return model.num_bits + (2 * math.pi * math.e * (error.square().flatten(1).mean(1) + _NOISE**2)).log2() / 2


def estimate_psnr(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return the PSNR of the encoder's estimate m in dB, (B,): :math:`-10 \log_{10} \overline{(y - m)^2}`.

    It covers all pixels, including those that a mask marks as known; m is clamped to the range of images. The noise of
    y limits the PSNR to 59 dB with 8 bits.
    """
    y, estimate = model.dequantised(images, generator), picture_conditioning_of(model).estimate(given)
    return -10 * (y - estimate.clamp(-0.5, 0.5)).square().flatten(1).mean(1).log10()


@torch.no_grad()
def last_latent(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the last latent of a dequantisation draw, (B, C_L, H_L, W_L), in full precision."""
    context = model.context(given, len(images))
    with full_precision(model.device):
        return model.flow.encode(model.dequantised(images, generator), context)[-1]
