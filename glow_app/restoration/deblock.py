"""Removal of JPEG artefacts."""

import numpy as np
import torch
from torch import Tensor

from glow_app.restoration.damages import compressed, compressed_at_random, damage_each
from glow_app.restoration.restoration_task import RestorationTask


class Deblock(RestorationTask):
    """Remove the blocking and ringing of JPEG compression, with quality uniform in ``[min_quality, max_quality]``.

    The quality is not an input: a file states only that of its last compression, and earlier ones show as well.

    Args:
        min_quality: Lowest quality in training, on the scale of Pillow and libjpeg.
        max_quality: Highest quality in training.
        mixed: Whether training includes other damage of photographs: a quarter was cropped after compression, a
            quarter was then compressed again, and one in twenty was not compressed. Otherwise, all are compressed once.
    Shape:
        images, damaged, condition: uint8 (B, C, H, W), where C is 1 or 3.
    Raises:
        ValueError: If a quality is out of range.
    References:
        Compression twice: Towards Flexible Blind JPEG Artifacts Removal, Jiang et al. 2021, arXiv:2109.14573.
    """

    condition_name = "JPEG picture"
    least_change = 0.75

    def __init__(self, min_quality: int = 10, max_quality: int = 60, mixed: bool = False) -> None:
        if not 1 <= min_quality <= max_quality <= 100:
            raise ValueError(
                f"min_quality is {min_quality}, max_quality {max_quality}; expected 1 to 100, in this order"
            )
        self.min_quality, self.max_quality, self.mixed = min_quality, max_quality, mixed

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images after compression."""
        return damage_each(images, generator, self._compressed)

    def _compressed(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.mixed:
            return compressed(pixels, rng.integers(self.min_quality, self.max_quality, endpoint=True))
        if rng.random() < 0.05:
            return pixels
        return compressed_at_random(pixels, self.min_quality, self.max_quality, rng)
