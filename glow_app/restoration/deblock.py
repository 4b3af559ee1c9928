"""Removal of JPEG artefacts."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.restoration.restoration_task import RestorationTask, draw_seeds


class Deblock(RestorationTask):
    """Remove the blocking and ringing of JPEG compression, with quality uniform in ``[min_quality, max_quality]``.

    Args:
        min_quality: Lowest quality in training, on the scale of Pillow and libjpeg.
        max_quality: Highest quality in training.
    Shape:
        images, damaged, condition: uint8 (B, C, H, W), where C is 1 or 3.
    Raises:
        ValueError: If a quality is out of range.
    """

    condition_name = "JPEG picture"

    def __init__(self, min_quality: int = 10, max_quality: int = 60) -> None:
        if not 1 <= min_quality <= max_quality <= 95:
            raise ValueError(
                f"min_quality is {min_quality}, max_quality {max_quality}; expected 1 to 95, in this order"
            )
        self.min_quality, self.max_quality = min_quality, max_quality

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images after compression."""
        span = self.max_quality - self.min_quality + 1
        qualities = [self.min_quality + seed % span for seed in draw_seeds(len(images), generator)]
        damaged = []
        for image, quality in zip(images.cpu(), qualities, strict=True):
            file = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "JPEG", quality=quality)
            with Image.open(file) as compressed:
                damaged.append(torch.from_numpy(np.array(compressed)).reshape(*image.shape[1:], -1).permute(2, 0, 1))
        return torch.stack(damaged).to(images.device)
