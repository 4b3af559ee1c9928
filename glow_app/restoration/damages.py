"""Damage of single pictures: noise, JPEG compression and reduction."""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.seeding import draw_rows

_SUBSAMPLING = ("4:4:4", "4:2:0", "4:2:0")  # resolutions of colours, as often as here
_BLOCK = 8  # side of a block of JPEG, pixels


def damage_each(
    images: Tensor, generator: torch.Generator | None, damage: Callable[[np.ndarray, np.random.Generator], np.ndarray]
) -> Tensor:
    """Damage images, uint8 (B, C, H, W), one by one.

    Args:
        generator: Generator of one seed per image.
        damage: A function of pixels, uint8 (H, W, C), and of a generator with the image's seed.
    """
    seeds = draw_rows(partial(torch.randint, 2**31), (len(images),), generator).tolist()
    pixels = [image.permute(1, 2, 0).numpy() for image in images.cpu()]
    damaged = [damage(each, np.random.default_rng(seed)) for each, seed in zip(pixels, seeds, strict=True)]
    return torch.from_numpy(np.stack(damaged)).permute(0, 3, 1, 2).contiguous().to(images.device)


def noisy(
    pixels: np.ndarray, sigma: float, rng: np.random.Generator, photons: float = 0.0, alike: bool = False
) -> np.ndarray:
    r"""Return pixels with noise of variance :math:`\sigma^2 (1 - s + s\, x / 255)`.

    Args:
        pixels: uint8 (H, W, C).
        sigma: Standard deviation at white, grey levels.
        photons: The share :math:`s` of the variance at white that is Poisson noise, of single photons; the rest is
            Gaussian noise, as from reading a sensor.
        alike: Whether all channels get the same noise. Those of a grey picture always do.
    """
    clean = pixels.astype(np.float32)
    source = clean.mean(2, keepdims=True) if alike or is_grey(pixels) else clean
    noise = (1 - photons) ** 0.5 * sigma * rng.standard_normal(source.shape, np.float32)
    if gain := photons * sigma**2 / 255:
        noise += gain * rng.poisson(source / gain) - source
    return to_uint8(clean + noise)


def compressed(
    pixels: np.ndarray, quality: int | np.integer, rng: np.random.Generator | None = None, is_cropped: bool = False
) -> np.ndarray:
    """Return pixels, uint8 (H, W, C), after compression as a JPEG file; grey ones are saved as such.

    Args:
        quality: On the scale of Pillow and libjpeg.
        rng: Source of a random resolution of colours; if None, it is half that of the picture.
        is_cropped: Whether the pixels are a part of what is compressed, at a random position within the blocks.
    """
    top, left = rng.integers(_BLOCK, size=2) if rng and is_cropped else (0, 0)
    options = {"subsampling": rng.choice(_SUBSAMPLING)} if rng else {}
    padded = np.pad(pixels, ((top, 0), (left, 0), (0, 0)), mode="symmetric")
    file = io.BytesIO()
    Image.fromarray(padded[..., 0] if is_grey(pixels) else padded).save(file, "JPEG", quality=int(quality), **options)
    with Image.open(file) as image:
        decoded = np.array(image).reshape(*padded.shape[:2], -1)[top:, left:]
    return np.broadcast_to(decoded, pixels.shape)


def noisy_at_random(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return pixels with noise as in photographs: Gaussian, of single photons, or both, as from a camera.

    Each is a third, and in a quarter all channels have the same noise.
    """
    photons = rng.choice([0.0, 1.0, rng.random()])
    return noisy(pixels, sigma, rng, photons, alike=rng.random() < 0.25)


def compressed_at_random(pixels: np.ndarray, min_quality: int, rng: np.random.Generator) -> np.ndarray:
    """Return pixels after compression as photographs meet it: a quarter cropped afterwards, a quarter then again."""
    first, second = rng.integers(min_quality, 100, size=2, endpoint=True)
    kind = rng.random()
    if kind < 0.5:  # also before the second compression
        pixels = compressed(pixels, first, rng, is_cropped=True)
    return compressed(pixels, second, rng) if kind >= 0.25 else pixels


def is_grey(pixels: np.ndarray) -> bool:
    """Return whether all channels of a picture, (H, W, C), are equal."""
    return bool((pixels == pixels[..., :1]).all())


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Return values as pixels, uint8."""
    return values.round().clip(0, 255).astype(np.uint8)
