"""Inpainting: filling missing parts of a picture."""

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from glow_app.restoration.damage import damage_each
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.spec import register


@register("fill")
class Fill(RestorationTask):
    """Fill missing parts of pictures; all other pixels are preserved exactly.

    The flow sees the picture with a smooth filling, and the mask. Training draws a random mask for each image: boxes,
    strokes or a margin.

    Shape:
        images: uint8 (B, C, H, W); damaged, condition: uint8 (B, C + 1, H, W), with the mask in the last channel: 255
        where pixels are missing, 0 elsewhere.
    """

    takes: ClassVar = {"mask": "picture"}
    has_mask = True
    condition_name = "smooth fill"

    def prepare(self, picture: Tensor, **inputs: Any) -> Tensor:
        """Fill the masked pixels smoothly, and append the mask as the last channel.

        Raises:
            ValueError: If there is no mask, its size differs from the picture's, or it covers nothing or everything.
        """
        super().prepare(picture, **inputs)
        mask: Tensor | None = inputs.get("mask")
        if mask is None:
            raise ValueError("Fill needs the input 'mask'; expected a picture, white where pixels are missing")
        if mask.shape[1:] != picture.shape[1:]:
            sizes = [f"{shape[2]}x{shape[1]}" for shape in (mask.shape, picture.shape)]
            raise ValueError(f"mask: got {sizes[0]}; expected {sizes[1]}, the size of the picture")
        missing = mask >= 128
        if not missing.any() or missing.all():  # such as white paint on a transparent background, which becomes white
            colour = "white" if missing.any() else "black"
            raise ValueError(f"mask: it is {colour} everywhere; expected white where pixels are missing, else black")
        return _without(picture[None], missing[None])[0]

    def condition_channels(self, num_channels: int) -> int:
        """Return ``num_channels`` + 1, for the mask."""
        return num_channels + 1

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Mask random parts of the images, and append the masks as the last channel."""
        height, width = images.shape[2:]
        masks = damage_each(images, generator, lambda _, rng: random_mask(height, width, rng)[..., None])
        return _without(images, masks >= 128)

    def reconcile(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Return the restored pixels where pixels were missing, and the original ones elsewhere."""
        return torch.where(damaged[:, -1:] >= 128, restored, damaged[:, :-1])

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Return which pictures keep all pixels outside the masks, (B,)."""
        return (self.reconcile(restored, damaged) == restored).flatten(1).all(1)

    def missing(self, damaged: Tensor) -> Tensor:
        """Return the mask."""
        return damaged[:, -1:] >= 128


def _without(pictures: Tensor, missing: Tensor) -> Tensor:
    return torch.cat([smooth_fill(pictures, missing), missing.to(torch.uint8) * 255], dim=1)


def smooth_fill(pictures: Tensor, missing: Tensor) -> Tensor:
    """Interpolate the missing pixels from the known ones; grey if there are none.

    Args:
        pictures: uint8 (B, C, H, W).
        missing: Boolean (B, 1, H, W).
    References:
        The push-pull method: The Lumigraph, Gortler et al. 1996, doi:10.1145/237170.237200, section 3.4.
    """
    weight = (~missing).float()
    filled = _pushed_and_pulled(torch.where(missing, 0.0, pictures.float()), weight)
    return torch.where(missing, filled.round().clamp(0, 255).to(torch.uint8), pictures)


def _pushed_and_pulled(values: Tensor, weight: Tensor) -> Tensor:
    """Fill the gaps of ``values``, which are 0 where their ``weight`` is 0, from recursively halved copies."""
    height, width = values.shape[2:]
    if max(height, width) == 1:
        mean = torch.where(weight > 0, values / weight.clamp_min(1e-6), 127.5)
        return values + (1 - weight) * mean
    half = min(2, height), min(2, width)
    pooled = F.avg_pool2d(weight, half, ceil_mode=True, count_include_pad=False)
    coarse = F.avg_pool2d(values, half, ceil_mode=True, count_include_pad=False)
    coarse_weight = (half[0] * half[1] * pooled).clamp(max=1)
    coarse = coarse / pooled.clamp_min(1e-6) * coarse_weight
    coarse = _pushed_and_pulled(coarse, coarse_weight)
    enlarged = F.interpolate(coarse, size=(height, width), mode="bilinear")
    return values + (1 - weight) * enlarged


def random_mask(height: int, width: int, seed: int | np.random.Generator) -> np.ndarray:
    """Draw a mask of missing pixels, uint8 (H, W), 255 where missing: one to four boxes or strokes, or a margin."""
    generator, mask = np.random.default_rng(seed), Image.new("L", (width, height))
    while mask.getbbox() is None:  # strokes may miss the image
        _draw_mask(ImageDraw.Draw(mask), np.array([width, height]), generator)
    return np.asarray(mask)


def _draw_mask(draw: ImageDraw.ImageDraw, size: np.ndarray, generator: np.random.Generator) -> None:
    kind = generator.integers(3)
    if kind == 2:
        share, side = generator.uniform(0.1, 0.5), generator.integers(4)
        start, stop = np.zeros(2), size * 1.0
        if side % 2:
            start[side // 2] = (1 - share) * size[side // 2]
        else:
            stop[side // 2] = share * size[side // 2]
        draw.rectangle([*start, *stop], fill=255)
        return
    for _ in range(generator.integers(1, 5)):
        if kind == 0:
            sides = generator.uniform(0.1, 0.5, 2) * size
            corner = generator.uniform(0, 1, 2) * (size - sides)
            draw.rectangle([*corner, *(corner + sides)], fill=255)
        else:
            thickness = max(1, round(size.min() * generator.uniform(0.03, 0.12)))
            steps = generator.normal(0, 0.25, (generator.integers(2, 8), 2)).cumsum(0)
            points = (generator.uniform(0, 1, 2) + steps) * size
            draw.line([tuple(point) for point in points], fill=255, width=thickness, joint="curve")
