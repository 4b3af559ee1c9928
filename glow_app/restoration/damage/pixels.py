"""What all damages share: one generator per picture, and pixels of 8 bits."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from glow_app.seeding import draw_rows

Damage = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def damage_each(images: Tensor, generator: torch.Generator | None, damage: Damage) -> Tensor:
    """Damage images, uint8 (B, C, H, W), one by one.

    Args:
        generator: Generator of one seed per image.
        damage: A function of pixels, uint8 (H, W, C), and of a generator with the image's seed.
    """
    seeds = draw_rows(partial(torch.randint, 2**31), (len(images),), generator).tolist()
    pixels = [image.permute(1, 2, 0).numpy() for image in images.cpu()]
    damaged = [damage(each, np.random.default_rng(seed)) for each, seed in zip(pixels, seeds, strict=True)]
    return torch.from_numpy(np.stack(damaged)).permute(0, 3, 1, 2).contiguous().to(images.device)


def is_grey(pixels: np.ndarray) -> bool:
    """Return whether all channels of a picture, (H, W, C), are equal."""
    return bool((pixels == pixels[..., :1]).all())


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Return values as pixels, uint8."""
    return values.round().clip(0, 255).astype(np.uint8)


def blurred(values: np.ndarray, sigma: float) -> np.ndarray:
    """Return values, float32 (H, W, C), after a Gaussian filter with a standard deviation in pixels."""
    planes = torch.from_numpy(np.moveaxis(values, 2, 0).copy())
    return np.moveaxis(gaussian_blur(planes, 2 * int(np.ceil(3 * sigma)) + 1, sigma).numpy(), 0, 2)
