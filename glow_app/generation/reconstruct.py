"""Reconstruction: how exactly a model gives images back."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.models.image_model import ImageModel

__all__ = ["Reconstruction", "reconstruct"]


@dataclass(frozen=True)
class Reconstruction:
    """Images given back, and the largest difference.

    Args:
        images: ``decode(encode(x))``, (B, C, H, W), uint8.
        max_pixel_error: Largest difference from the images in the model's own number of bits, in grey levels of 255.
        max_quantisation: Largest difference that this number of bits made before: 0 at 8 bits.
    """

    images: Tensor
    max_pixel_error: int
    max_quantisation: int


def reconstruct(model: ImageModel, images: Tensor, labels: Tensor | None = None) -> Reconstruction:
    """Encode and decode uint8 images (B, C, H, W)."""
    quantised = model.quantised(images)
    decoded = model.decode(model.encode(images, labels), labels).cpu()
    return Reconstruction(decoded, _largest(decoded, quantised), _largest(quantised, images))


def _largest(a: Tensor, b: Tensor) -> int:
    return int((a.to(torch.int16) - b.to(torch.int16)).abs().max())
