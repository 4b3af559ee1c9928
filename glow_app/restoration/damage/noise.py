"""Noise of single pictures: white, correlated between neighbours, of film, and of scanned paper."""

import numpy as np
from PIL import Image

from glow_app.restoration.damage.pixels import blurred, is_grey, to_uint8

_FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def noisy(
    pixels: np.ndarray, sigma: float, rng: np.random.Generator, photons: float = 0.0, alike: bool = False
) -> np.ndarray:
    r"""Return pixels with white noise of variance :math:`\sigma^2 (1 - s + s\, x / 255)`.

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


def noisy_at_random(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return pixels with white noise: Gaussian, of single photons, or both, as from a camera.

    Each is a third, and in a quarter all channels have the same noise.
    """
    photons = rng.choice([0.0, 1.0, rng.random()])
    return noisy(pixels, sigma, rng, photons, alike=rng.random() < 0.25)


def correlated(
    pixels: np.ndarray,
    sigma: float,
    rng: np.random.Generator,
    factor: float = 1.0,
    method: Image.Resampling = Image.Resampling.BICUBIC,
    blur: float = 0.0,
    chroma: float = 0.0,
    sharpening: float = 0.0,
    alike: bool = False,
) -> np.ndarray:
    """Return pixels with Gaussian noise that the way to the file has correlated; the picture itself stays sharp.

    Args:
        pixels: uint8 (H, W, C).
        sigma: Standard deviation of the noise before all else, grey levels.
        factor: How many times the noise was enlarged, or reduced if below 1.
        method: The filter of that.
        blur: Standard deviation of a Gaussian filter after it, pixels; 0 for none.
        chroma: The share of the brightness of the noise that noise reduction has taken away, so that colours remain.
        sharpening: How often what a filter of one pixel removes is added again, which gives noise its halos.
        alike: Whether all channels get the same noise. Those of a grey picture always do.
    """
    height, width = (max(1, round(side / factor)) for side in pixels.shape[:2])
    channels = 1 if alike or is_grey(pixels) else pixels.shape[2]
    planes = sigma * rng.standard_normal((channels, height, width), np.float32)
    size = pixels.shape[1], pixels.shape[0]
    noise = np.stack([np.asarray(Image.fromarray(plane).resize(size, method)) for plane in planes], axis=2)
    if blur:
        noise = blurred(noise, blur)
    if channels > 1:
        noise = noise - chroma * noise.mean(2, keepdims=True)
    if sharpening:
        noise = noise + sharpening * (noise - blurred(noise, 1.0))
    return to_uint8(pixels + noise)


def correlated_at_random(pixels: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return pixels with noise that was blurred by 0.3 to 2 pixels, or resized 0.5 to 2 times, half of each.

    A quarter is then sharpened, and in a third the colours have more noise than the brightness, which is what the noise
    reduction of phones leaves.
    """
    is_blurred = rng.random() < 0.5
    return correlated(
        pixels,
        sigma,
        rng,
        factor=1.0 if is_blurred else 2 ** rng.uniform(-1, 1),
        method=_FILTERS[rng.integers(len(_FILTERS))],
        blur=rng.uniform(0.3, 2) if is_blurred else 0.0,
        chroma=rng.uniform(0.3, 0.9) if rng.random() < 1 / 3 else 0.0,
        sharpening=rng.uniform(0.3, 1.5) if rng.random() < 0.25 else 0.0,
        alike=rng.random() < 0.25,
    )


def film_grain(pixels: np.ndarray, sigma: float, rng: np.random.Generator, size: float = 0.8) -> np.ndarray:
    r"""Return pixels with grain of standard deviation :math:`2 \sigma \sqrt{t (1 - t)}` at the tone :math:`t = x/255`.

    Grain is strongest in the middle tones; colours have a third of it beside what all have in common.

    Args:
        pixels: uint8 (H, W, C).
        sigma: Standard deviation in the middle tones, grey levels.
        size: Standard deviation of the Gaussian filter that gives grains their size, pixels.
    References:
        A Stochastic Film Grain Model for Resolution-Independent Rendering, Newson et al. 2017.
    """
    clean = pixels.astype(np.float32)
    grain = _unit(pixels, rng, size, alike=True)
    if not is_grey(pixels):
        grain = (grain + _unit(pixels, rng, size) / 3) / (1 + 1 / 9) ** 0.5
    tone = blurred(clean, size) / 255
    return to_uint8(clean + 2 * sigma * np.sqrt((tone * (1 - tone)).clip(0)) * grain)


def on_paper(pixels: np.ndarray, sigma: float, rng: np.random.Generator, size: float = 2.0) -> np.ndarray:
    """Return pixels of a print as a scanner sees it: the fibres of its paper, and fine noise.

    Args:
        pixels: uint8 (H, W, C).
        sigma: Standard deviation of the fibres, grey levels; that of the noise is half of it.
        size: Standard deviation of the Gaussian filter that gives fibres their size, pixels.
    """
    fibres = _unit(pixels, rng, size, alike=True) * sigma
    return to_uint8(pixels + fibres + sigma / 2 * _unit(pixels, rng, 0))


def _unit(pixels: np.ndarray, rng: np.random.Generator, size: float, alike: bool = False) -> np.ndarray:
    """Return filtered noise of variance 1, (H, W, C) or, where all channels have the same, (H, W, 1)."""
    channels = 1 if alike or is_grey(pixels) else pixels.shape[2]
    noise = rng.standard_normal((*pixels.shape[:2], channels), np.float32)
    noise = blurred(noise, size) if size else noise
    return noise / max(float(noise.std()), 1e-6)
