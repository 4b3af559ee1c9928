"""What all damages share: one generator per picture, and pixels of 8 bits."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

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
    with torch.autocast("cpu", enabled=False):  # filters of noise
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
    radius = int(np.ceil(3 * sigma))
    weights = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    planes = torch.from_numpy(np.moveaxis(values, 2, 0).copy())[:, None]
    for side in (2, 3):
        edges = [radius * (side == 3)] * 2 + [radius * (side == 2)] * 2
        shape = [-1 if each == side else 1 for each in range(4)]
        planes = F.conv2d(F.pad(planes, edges, mode="replicate"), (weights / weights.sum()).view(shape))
    return np.moveaxis(planes[:, 0].numpy(), 0, 2)
