"""Removal of noise."""

import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.restoration.damages import damage_each, noisy
from glow_app.restoration.restoration_task import RestorationTask, picture_of, unit_pixels

# Rows per step of the estimate: all rows of a large picture as floats would take gigabytes.
_ROWS = 256


class Denoise(RestorationTask):
    r"""Remove noise of a known or estimated level.

    .. math:: d = x + \sigma\, n \quad \text{(gaussian)}, \qquad
              d = \frac{\sigma^2}{255}\, \mathrm{Poisson}\!\left(\frac{255\, x}{\sigma^2}\right) \quad \text{(poisson)}

    rounded and clipped to 0..255, with :math:`\sigma` uniform in ``[min_sigma, max_sigma]`` and rounded; for
    Poisson noise, :math:`\sigma` is the standard deviation at white. The flow sees the noisy picture with
    :math:`\sigma` as an additional channel.

    Args:
        min_sigma: Lowest standard deviation of the noise in training, grey levels.
        max_sigma: Highest standard deviation.
        kind: "gaussian", or "poisson" for photon noise.
    Shape:
        images: uint8 (B, C, H, W); damaged, condition: uint8 (B, C + 1, H, W), with :math:`\sigma` in the last channel.
    Raises:
        ValueError: If a level is out of range or the kind unknown.
    """

    takes: ClassVar = {"sigma": "number"}
    condition_name, classical_name = "noisy picture", "non-local means"
    least_change = 1.0

    def __init__(
        self, min_sigma: float = 5.0, max_sigma: float = 50.0, kind: Literal["gaussian", "poisson"] = "gaussian"
    ) -> None:
        if not 1 <= min_sigma <= max_sigma <= 128:
            raise ValueError(f"min_sigma is {min_sigma} and max_sigma {max_sigma}; expected 1 to 128, in this order")
        if kind not in ("gaussian", "poisson"):
            raise ValueError(f"kind is {kind!r}; expected gaussian or poisson")
        self.min_sigma, self.max_sigma, self.kind = min_sigma, max_sigma, kind

    @property
    def most_change(self) -> float:  # type: ignore[override]
        """The highest standard deviation of the noise in training."""
        return self.max_sigma

    def condition_channels(self, num_channels: int) -> int:
        """Return ``num_channels`` + 1, for the noise level."""
        return num_channels + 1

    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return noisy images with their noise level as the last channel."""
        return damage_each(images, generator, self._noisy)

    def _noisy(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sigma = round(rng.uniform(self.min_sigma, self.max_sigma))
        damaged = noisy(pixels, sigma, rng, photons=float(self.kind == "poisson"))
        return np.concatenate([damaged, np.full_like(pixels[..., :1], sigma)], axis=2)

    def prepare(self, picture: Tensor, **inputs: Any) -> Tensor:
        """Append the noise level to the picture, estimated by :func:`estimated_sigma` if omitted.

        Raises:
            ValueError: If ``sigma`` is not from 1 to 255, or there is another input.
        """
        super().prepare(picture, **inputs)
        sigma: float | None = inputs.get("sigma")
        if sigma is not None and not 1 <= sigma <= 255:
            raise ValueError(f"sigma: got {sigma}; expected 1 to 255 grey levels")
        if sigma is not None:
            level = torch.full((1, 1, 1, 1), sigma)
        elif self.kind == "gaussian":
            level = estimated_sigma(picture[None])
        else:  # at a value x, the noise is sqrt(x / 255) times that at white
            level = estimated_sigma(picture[None]) / (picture / 255).sqrt().mean().clamp_min(1 / 16)
        return _with_level(picture[None], level.to(picture.device))[0]

    def facts(self, damaged: Tensor) -> dict[str, int | float]:
        """Return the noise level."""
        return {"sigma": int(damaged[-1, 0, 0])}

    def classical(self, damaged: Tensor) -> Tensor:
        """Return the picture after non-local means."""
        from skimage.restoration import denoise_nl_means

        sigma = float(damaged[0, -1, 0, 0]) / 255
        return picture_of(denoise_nl_means(unit_pixels(damaged), 5, 6, h=0.8 * sigma, sigma=sigma, channel_axis=-1))


def _with_level(pictures: Tensor, sigma: Tensor) -> Tensor:
    level = sigma.round().clamp(1, 255).to(torch.uint8).expand(-1, 1, *pictures.shape[2:])
    return torch.cat([pictures, level], dim=1)


def estimated_sigma(pictures: Tensor) -> Tensor:
    r"""Estimate the standard deviation of the noise of each picture, (B, 1, 1, 1), grey levels.

    .. math:: \sigma = \sqrt{\pi / 2}\; \frac{1}{6 N} \sum |x * m|, \qquad
              m = \begin{pmatrix} 1 & -2 & 1 \\ -2 & 4 & -2 \\ 1 & -2 & 1 \end{pmatrix}

    The mask m ignores constant and linear parts; fine textures count as noise. The estimate is 0 if a side is below 3
    pixels.

    References:
        Fast Noise Variance Estimation, Immerkaer 1996, doi:10.1006/cviu.1996.0060.
    """
    sides, channels = pictures.shape[2:], pictures.shape[1]
    if min(sides) < 3:
        return torch.zeros(len(pictures), 1, 1, 1, device=pictures.device)
    line = torch.tensor([1.0, -2.0, 1.0], device=pictures.device)
    mask, height, width = torch.outer(line, line), sides[0] - 2, sides[1] - 2
    total = torch.zeros(len(pictures), 1, 1, 1, device=pictures.device)
    for start in range(0, height, _ROWS):
        rows = pictures[:, :, start : min(start + _ROWS, height) + len(mask) - 1].float()
        residual = F.conv2d(rows, mask.expand(channels, 1, *mask.shape), groups=channels)
        total += residual.abs_().sum((1, 2, 3), keepdim=True) / (channels * height * width)
    return math.sqrt(math.pi / 2) / mask.norm() * total
