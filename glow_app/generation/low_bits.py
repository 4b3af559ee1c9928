"""What a model of fewer than 8 bits does not see of an image, and gives back beside what it decodes."""

import torch
from torch import Tensor

from glow_app.models.image_model import ImageModel

__all__ = ["low_bits", "with_low_bits"]


def low_bits(model: ImageModel, images: Tensor) -> Tensor:
    """Return the difference of uint8 images from their quantised ones: int16 on the CPU, all 0 at 8 bits."""
    return images.short().cpu() - model.quantised(images).short().cpu()


def with_low_bits(decoded: Tensor, unseen: Tensor) -> Tensor:
    """Return decoded images, uint8, with what was unseen of theirs; that of the images themselves in every pixel."""
    return (decoded.short().cpu() + unseen).clamp(0, 255).to(torch.uint8)
