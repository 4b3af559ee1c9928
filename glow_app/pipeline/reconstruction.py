"""Reconstruction, and the low bits that a model of fewer than 8 bits ignores."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.conditioning import Given
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.inference import read_known


@dataclass(frozen=True)
class Reconstruction:
    """Reconstructed images, and the largest errors.

    Args:
        images: ``decode(encode(x))``, (B, C, H, W), uint8.
        max_pixel_error: Largest difference from the quantised images, in grey levels of 255.
        max_quantisation: Largest difference between the images and the quantised images: 0 at 8 bits.
    """

    images: Images
    max_pixel_error: int
    max_quantisation: int


def reconstruct(model: ImageModel, images: Pictures, given: Given = None) -> Reconstruction:
    """Encode and decode uint8 images (B, C, H, W), or other pictures."""
    images, given = read_known(model, images, given)
    decoded = model.decode(model.encode(images, given), given).cpu()
    unseen = low_bits(model, images)
    difference = decoded.short() + unseen - images.short().cpu()
    return Reconstruction(Images(decoded), int(difference.abs().max()), int(unseen.abs().max()))


def low_bits(model: ImageModel, images: Tensor) -> Tensor:
    """Return uint8 images minus their quantised versions: int16 on the CPU, all 0 at 8 bits."""
    return images.short().cpu() - model.quantised(images).short().cpu()


def with_low_bits(decoded: Tensor, unseen: Tensor) -> Tensor:
    """Return decoded uint8 images with the ignored low bits added; their means, if the images are smaller."""
    _, _, height, width = decoded.shape
    unseen = F.adaptive_avg_pool2d(unseen.float(), (height, width)).round().short()
    return (decoded.short().cpu() + unseen).clamp(0, 255).to(torch.uint8)
