"""Super-resolution: enlarging pictures."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from glow_app.restoration.damage import compressed, damage_each, noisy
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.spec import register

_FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS)


@register("upscale")
class Upscale(RestorationTask):
    """Enlarge pictures; the damage is bicubic downsampling with antialiasing.

    The flow sees the bicubic enlargement of the small picture. How a picture was reduced is usually unknown, so
    restored pictures are not forced to agree with one reduction.

    Args:
        factor: Ratio of the restored sides to the original ones: 2, 4 or 8.
        mixed: Whether training includes other damage of photographs: half of them are reduced by averages of boxes or
            by Lanczos filters, a fifth then gets noise of up to 5 grey levels, and a fifth is compressed as JPEG.
    Shape:
        images: uint8 (B, C, H, W), sides divisible by ``factor``; damaged: uint8 (B, C, H / factor, W / factor).
    Raises:
        ValueError: If the factor is not 2, 4 or 8, or does not divide the sides.
    """

    condition_name = "bicubic enlargement"

    def __init__(self, factor: int = 2, mixed: bool = False) -> None:
        if factor not in (2, 4, 8):
            raise ValueError(f"factor is {factor}; expected 2, 4 or 8")
        self.factor, self.mixed = factor, mixed

    @property
    def most_change(self) -> float:  # type: ignore[override]
        """The most that small pictures with the noise of training change, textures included."""
        return 8.0 if self.mixed else math.inf

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the reduced images."""
        if images.shape[2] % self.factor or images.shape[3] % self.factor:
            raise ValueError(
                f"images are {images.shape[3]}x{images.shape[2]}; expected sides divisible by {self.factor}"
            )
        return damage_each(images, generator, self._reduced)

    def condition(self, damaged: Tensor) -> Tensor:
        """Return the bicubic enlargement."""
        # By channels, because floats take four times the memory.
        enlarged = (
            F.interpolate(channel.float(), scale_factor=self.factor, mode="bicubic") for channel in damaged.split(1, 1)
        )
        return torch.cat([channel.round_().clamp_(0, 255).to(torch.uint8) for channel in enlarged], dim=1)

    def _reduced(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        size = pixels.shape[1] // self.factor, pixels.shape[0] // self.factor
        method = _FILTERS[rng.integers(len(_FILTERS))] if self.mixed else Image.Resampling.BICUBIC
        planes = [np.asarray(Image.fromarray(plane).resize(size, method)) for plane in np.moveaxis(pixels, 2, 0)]
        small: np.ndarray = np.stack(planes, axis=2)
        if self.mixed and rng.random() < 0.2:
            small = noisy(small, rng.uniform(0, 5), rng)
        return compressed(small, rng.integers(70, 99), rng) if self.mixed and rng.random() < 0.2 else small
