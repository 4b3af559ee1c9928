"""Removal of noise and of the artefacts of compression."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from glow_app.restoration.damage import (
    compressed_at_random,
    correlated_at_random,
    damage_each,
    film_grain,
    noisy_at_random,
    on_paper,
    raw_at_random,
)
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.spec import register

# Shares of the pictures with noise only, files only, noise that was then saved, files with noise on them, and neither.
_SHARES = (0.44, 0.24, 0.2, 0.04, 0.08)
_SKEW = 1.5  # exponent of uniform random levels of noise: half of them are below a third of the highest
_GRAIN = 0.4  # highest level of grain and paper, relative to that of other noise


def _grain(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return film_grain(pixels, _GRAIN * sigma, rng, size=rng.uniform(0.4, 1.5))


def _paper(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return on_paper(pixels, _GRAIN / 2 * sigma, rng, size=rng.uniform(0.8, 3))


# Kinds of noise, and their shares. White noise stays the most frequent: no other is as hard to tell from texture.
_NOISE: dict[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], float] = {
    noisy_at_random: 0.42,
    correlated_at_random: 0.22,
    raw_at_random: 0.2,
    _grain: 0.1,
    _paper: 0.06,
}


@register("clean")
class Clean(RestorationTask):
    """Remove noise and the artefacts of JPEG and WebP, alone or both in either order; some pictures have neither.

    The noise is white, blurred, resized or sharpened, of a camera's sensor behind its mosaic, of film, or of scanned
    paper. Softness stays, since no picture tells whether it was meant.
    Kinds and levels are no inputs: they are seldom known, and a file states only its last compression.

    Args:
        max_sigma: Highest standard deviation of the noise in training, grey levels; weak noise is more frequent.
        min_quality: Lowest quality in training, on the scale of Pillow and libjpeg; the highest is 100.
    Shape:
        images, damaged, condition: uint8 (B, C, H, W), where C is 1 or 3.
    Raises:
        ValueError: If a level is out of range.
    References:
        One network for noise of all levels and JPEG: Beyond a Gaussian Denoiser, Zhang et al. 2017, arXiv:1608.03981.
        Compression twice: Towards Flexible Blind JPEG Artifacts Removal, Jiang et al. 2021, arXiv:2109.14573.
        Several damages in random order: BSRGAN, Zhang et al. 2021, arXiv:2103.14006. Real-ESRGAN, Wang et al. 2021,
        arXiv:2107.10833. SCUNet, Zhang et al. 2022, arXiv:2203.13278.
    """

    condition_name = "noisy or compressed picture"
    least_change = 1.0

    def __init__(self, max_sigma: float = 60.0, min_quality: int = 5) -> None:
        if not (0 < max_sigma <= 128 and 1 <= min_quality <= 100):
            raise ValueError(
                f"max_sigma is {max_sigma}, min_quality {min_quality}; expected above 0 to 128 and 1 to 100"
            )
        self.max_sigma, self.min_quality = max_sigma, min_quality

    @property
    def most_change(self) -> float:  # type: ignore[override]
        """The highest standard deviation of the noise in training."""
        return self.max_sigma

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the images with noise, from files, or both."""
        return damage_each(images, generator, self._damaged)

    def _damaged(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kind = rng.choice(len(_SHARES), p=_SHARES)
        sigma = self.max_sigma * rng.random() ** _SKEW
        if kind in (1, 3):
            pixels = compressed_at_random(pixels, self.min_quality, rng)
        if kind in (0, 2, 3):
            number = rng.choice(len(_NOISE), p=list(_NOISE.values()))
            pixels = list(_NOISE)[number](pixels, sigma, rng)
        return compressed_at_random(pixels, self.min_quality, rng) if kind == 2 else pixels
