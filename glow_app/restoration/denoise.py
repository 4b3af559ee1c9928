"""Removal of noise."""

import numpy as np
import torch
from torch import Tensor

from glow_app.restoration.damages import compressed, damage_each, noisy, noisy_at_random
from glow_app.restoration.restoration_task import RestorationTask, picture_of, unit_pixels


class Denoise(RestorationTask):
    """Remove noise with a standard deviation uniform in ``[min_sigma, max_sigma]``.

    The level is no input of the flow: it is seldom known, differs between dark and bright parts, and simple estimates
    mistake texture for noise. All channels of a grey picture have the same noise.

    Args:
        min_sigma: Lowest standard deviation in training, grey levels.
        max_sigma: Highest standard deviation.
        mixed: Whether training shows the noise of photographs: a third has Gaussian noise, a third that of single
            photons, and a third both, as from a camera, with the standard deviation at white; a quarter has the same
            noise in all channels, a sixth is then compressed as JPEG, and one in twenty has no noise. Otherwise, noise
            is Gaussian and independent in all channels.
    Shape:
        images, damaged, condition: uint8 (B, C, H, W).
    Raises:
        ValueError: If a level is out of range.
    References:
        A network for all levels of noise: Beyond a Gaussian Denoiser, Zhang et al. 2017, arXiv:1608.03981.
    """

    condition_name, classical_name = "noisy picture", "non-local means"
    least_change = 2.8

    def __init__(self, min_sigma: float = 0.0, max_sigma: float = 60.0, mixed: bool = False) -> None:
        if not 0 <= min_sigma <= max_sigma <= 128:
            raise ValueError(f"min_sigma is {min_sigma} and max_sigma {max_sigma}; expected 0 to 128, in this order")
        self.min_sigma, self.max_sigma, self.mixed = min_sigma, max_sigma, mixed

    @property
    def most_change(self) -> float:  # type: ignore[override]
        """The highest standard deviation of the noise in training."""
        return self.max_sigma

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy images."""
        return damage_each(images, generator, self._noisy)

    def _noisy(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = rng.uniform(self.min_sigma, self.max_sigma)
        if not self.mixed:
            return noisy(pixels, sigma, rng)
        if rng.random() < 0.05:
            return pixels
        damaged = noisy_at_random(pixels, sigma, rng)
        return compressed(damaged, rng.integers(60, 99), rng) if rng.random() < 1 / 6 else damaged

    def classical(self, damaged: Tensor) -> Tensor:
        """Return the picture after non-local means, at the level estimated from second differences."""
        from skimage.restoration import denoise_nl_means

        pixels = unit_pixels(damaged)
        sigma = np.median(np.abs(np.diff(np.diff(pixels, 2, axis=0), 2, axis=1))) / (6 * 0.6745)
        return picture_of(denoise_nl_means(pixels, 5, 6, h=0.8 * sigma, sigma=sigma, channel_axis=-1))
