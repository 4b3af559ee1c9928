"""Noise of a sensor behind a Bayer mosaic, as a camera develops it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.restoration.damage.pixels import is_grey, to_uint8

_GAMMA = 2.2
_CROSS = torch.tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
_SQUARE = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
_BILINEAR = torch.stack([_SQUARE, _CROSS, _SQUARE])[:, None]  # of red, green and blue
_SITES = ((0, 0), (0, 1), (1, 0), (1, 1))


def raw_noise(
    pixels: np.ndarray,
    sigma: float,
    rng: np.random.Generator,
    photons: float = 0.0,
    gains: tuple[float, float] = (1.0, 1.0),
    gamma: float = 1.0,
    is_directed: bool = False,
) -> np.ndarray:
    r"""Return pixels that a sensor with a Bayer mosaic saw, with noise, and that a camera developed.

    The sensor sees :math:`r = (x / 255)^\gamma / g`, one colour at each place, with noise of variance
    :math:`(\sigma / 255)^2 (1 - s + s\, r)`. Demosaicing gives each place the two other colours; then the colours are
    multiplied by their gains g, and :math:`255\, r^{1 / \gamma}` is the picture. A grey picture stays grey.

    Args:
        pixels: uint8 (H, W, 3), or (H, W, 1), which has no mosaic; sides of at least 3 pixels.
        sigma: Standard deviation at white of the sensor, grey levels.
        photons: The share :math:`s` of the variance at white that is of single photons.
        gains: White balance of red and blue, relative to green.
        gamma: Exponent of the tone curve; 1 for noise on the levels of the picture itself.
        is_directed: Whether green is interpolated along edges, as by cameras, and not by averages of neighbours.
    References:
        Noise of cameras: Practical Poissonian-Gaussian Noise Modeling, Foi et al. 2008. Unprocessing Images for Learned
        Raw Denoising, Brooks et al. 2019, arXiv:1811.11127.
        Green along edges: Hamilton and Adams 1997, US 5629734.
    """
    has_mosaic = not is_grey(pixels)
    balance = np.array([gains[0], 1.0, gains[1]] if has_mosaic else [1.0], np.float32)
    linear = (pixels.astype(np.float32) / 255) ** gamma / balance
    if has_mosaic:
        sites = _bayer(pixels.shape[:2], rng)
        seen = (torch.from_numpy(linear).movedim(2, 0) * sites).sum(0).numpy()
    else:
        seen = linear[..., :1]
    spread = sigma / 255 * np.sqrt(1 - photons + photons * seen)
    seen = (seen + spread * rng.standard_normal(seen.shape, np.float32)).clip(0, 1)
    if has_mosaic:
        planes = torch.from_numpy(seen.astype(np.float32)) * sites
        seen = (directed(planes, sites) if is_directed else bilinear(planes)).movedim(0, 2).numpy()
    developed = 255 * (seen * balance).clip(0, 1) ** (1 / gamma)
    return np.broadcast_to(to_uint8(developed), pixels.shape)


def raw_at_random(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return pixels with the noise of a random camera: a third without its tone curve, half along edges."""
    is_directed = rng.random() < 0.5
    if rng.random() < 1 / 3:
        return raw_noise(pixels, sigma, rng, is_directed=is_directed)
    gains = rng.uniform(1.2, 2.4), rng.uniform(1.2, 2.2)
    return raw_noise(pixels, sigma, rng, rng.uniform(0.8, 1), gains, _GAMMA, is_directed)


def bilinear(planes: Tensor) -> Tensor:
    """Return red, green and blue, (3, H, W), of planes with zeros where a colour was not measured, by averages."""
    return F.conv2d(F.pad(planes[None], [1] * 4, mode="reflect"), _BILINEAR, groups=3)[0]


def directed(planes: Tensor, sites: Tensor) -> Tensor:
    """Return red, green and blue like :func:`bilinear`, with green by the neighbours along the smaller change.

    Shape:
        planes: float32 (3, H, W); sites: where each was measured, bool (3, H, W).
    """
    mosaic = F.pad(planes.sum(0)[None], [2] * 4, mode="reflect")[0]
    height, width = planes.shape[1:]

    def moved(down: int, right: int) -> Tensor:
        return mosaic[2 + down : 2 + down + height, 2 + right : 2 + right + width]

    guesses, changes = [], []
    for down, right in ((0, 1), (1, 0)):
        before, after = moved(-down, -right), moved(down, right)
        curve = 2 * moved(0, 0) - moved(-2 * down, -2 * right) - moved(2 * down, 2 * right)
        guesses.append((before + after) / 2 + curve / 4)
        changes.append((before - after).abs() + curve.abs())
    interpolated = torch.where(changes[0] < changes[1], guesses[0], guesses[1])
    green = torch.where(sites[1], planes[1], interpolated)
    return (bilinear((planes - green) * sites) + green).clamp(0, 1)


def _bayer(size: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Return the places of red, green and blue, bool (3, H, W), of a mosaic with a random first place."""
    top, left = _SITES[rng.integers(4)]
    rows = (torch.arange(size[0])[:, None] + top) % 2
    columns = (torch.arange(size[1]) + left) % 2
    return torch.stack([(rows == 0) & (columns == 0), rows != columns, (rows == 1) & (columns == 1)])
