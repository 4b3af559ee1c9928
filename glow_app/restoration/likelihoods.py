"""Likelihoods and errors of a restoration model's estimate, and of its draws at temperature 0."""

import math

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.models.image_model import ImageModel
from glow_app.restoration.picture_conditioning import picture_conditioning_of


def estimate_bits(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return bits/dim of a Gaussian around the encoder's estimate m, (B,), with the mean squared error as variance.

    .. math:: n + \frac{1}{2} \log_2 (2 \pi e\, \overline{(y - m)^2})
    """
    y = model.dequantised(images, generator)
    return _bits_of(model, (y - picture_conditioning_of(model).estimate(given)).square())


def zero_draw_bits(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return bits/dim of a Gaussian around the draw d at temperature 0, (B,).

    As :func:`estimate_bits`, but with the expected squared error of d if the estimate m is the mean of y:
    :math:`(y - m)^2 + (d - m)^2`. Unlike :math:`(y - d)^2`, it has zero gradient at d = m for every y.
    """
    y = model.dequantised(images, generator)
    with torch.no_grad():
        mean = picture_conditioning_of(model).estimate(given)
    return _bits_of(model, (y - mean).square() + (_zero_draw(model, y, given) - mean).square())


def zero_draw_psnr(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return the PSNR of the draw d at temperature 0 in dB, (B,): :math:`-10 \log_{10} \overline{(y - d)^2}`.

    It covers all pixels, including those that a mask marks as known, before the task restores known values; d is
    clamped to the range of images. The noise of y limits the PSNR to 59 dB with 8 bits. While the encoder is still to
    be trained, d is its estimate.
    """
    y, conditioning = model.dequantised(images, generator), picture_conditioning_of(model)
    draw = _zero_draw(model, y, given) if conditioning.encoder.trained else conditioning.estimate(given)
    return -10 * (y - draw.clamp(-0.5, 0.5)).square().flatten(1).mean(1).log10()


@torch.no_grad()
def last_latent(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the last latent of a dequantisation draw, (B, C_L, H_L, W_L), in full precision."""
    with full_precision(model.device):
        context = model.conditioning.context(given, len(images))
        return model.flow.encode(model.dequantised(images, generator), context)[-1]


def _zero_draw(model: ImageModel, y: Tensor, given: Tensor) -> Tensor:
    zeros = [y.new_zeros(len(y), *shape) for shape in model.flow.latent_shapes_at(*y.shape[2:])]
    return model.flow.decode(zeros, model.conditioning.context(given, len(y)))


def _bits_of(model: ImageModel, squared_errors: Tensor) -> Tensor:
    return model.num_bits + (2 * math.pi * math.e * squared_errors.flatten(1).mean(1)).log2() / 2
