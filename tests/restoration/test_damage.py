"""Damages are seeded, keep what they should, and have the statistics that they state."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.restoration.clean import Clean
from glow_app.restoration.damage import (
    compressed,
    correlated,
    correlated_at_random,
    film_grain,
    noisy,
    noisy_at_random,
    on_paper,
    raw_at_random,
    raw_noise,
)
from glow_app.restoration.damage.camera import bilinear, directed

DAMAGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "white": lambda pixels, rng: noisy(pixels, 15, rng),
    "blurred": lambda pixels, rng: correlated(pixels, 25, rng, blur=0.8),
    "enlarged": lambda pixels, rng: correlated(pixels, 20, rng, factor=1.5),
    "raw": lambda pixels, rng: raw_noise(pixels, 15, rng),
    "camera": lambda pixels, rng: raw_noise(pixels, 15, rng, 0.9, (2.0, 1.6), 2.2, is_directed=True),
    "grain": lambda pixels, rng: film_grain(pixels, 10, rng),
    "paper": lambda pixels, rng: on_paper(pixels, 6, rng),
    "WebP": lambda pixels, rng: compressed(pixels, 30, rng, kind="WEBP"),
    **{
        each.__name__: partial(lambda pixels, rng, each: each(pixels, 20, rng), each=each)
        for each in (noisy_at_random, correlated_at_random, raw_at_random)
    },
}


def flat(level: int, channels: int = 3, side: int = 96) -> np.ndarray:
    """Return pixels of one level that are not grey, so that channels get noise of their own."""
    pixels = np.full((side, side, channels), level, np.uint8)
    pixels[..., 0] += channels > 1
    return pixels


def noise_of(pixels: np.ndarray, damage: Callable[..., np.ndarray]) -> np.ndarray:
    return damage(pixels, rng=np.random.default_rng(0)) - pixels.astype(float)


def correlation(noise: np.ndarray, step: int = 1) -> float:
    """Return the correlation with the next pixel to the right."""
    return float(np.corrcoef(noise[:, step:].ravel(), noise[:, :-step].ravel())[0, 1])


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damages_are_seeded_change_little_on_average_and_keep_grey_pictures_grey(
    damage: Callable[[np.ndarray, np.random.Generator], np.ndarray],
) -> None:
    steps = np.random.default_rng(1).integers(60, 200, (6, 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    for pixels in (steps, steps[..., :1], steps[..., :1].repeat(3, axis=2)):
        for seed in range(3):
            first, again = (damage(pixels, np.random.default_rng(seed)) for _ in range(2))
            assert first.dtype == np.uint8
            assert first.shape == pixels.shape
            assert np.array_equal(first, again)
            assert abs(float(first.mean()) - float(pixels.mean())) < 4
            assert pixels is steps or (first == first[..., :1]).all()
    first, other = (damage(steps, np.random.default_rng(seed)) for seed in (0, 5))
    assert damage is DAMAGES["WebP"] or not np.array_equal(first, other)


def test_pictures_are_damaged_alike_while_a_model_trains_in_bfloat16() -> None:
    images = torch.randint(256, (12, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        damaged = Clean().damage(images, torch.Generator().manual_seed(1))
    assert torch.equal(damaged, Clean().damage(images, torch.Generator().manual_seed(1)))


def test_only_correlated_noise_is_like_its_neighbours() -> None:
    levels = flat(128)
    assert abs(correlation(noise_of(levels, DAMAGES["white"]))) < 0.02
    assert correlation(noise_of(levels, DAMAGES["blurred"])) == pytest.approx(np.exp(-1 / (4 * 0.8**2)), abs=0.05)
    for name in ("enlarged", "raw", "grain", "paper"):
        assert correlation(noise_of(levels, DAMAGES[name])) > 0.3, name


def test_grain_is_strongest_in_the_middle_tones_and_camera_noise_in_the_shadows() -> None:
    grain = {level: noise_of(flat(level), DAMAGES["grain"])[8:-8].std() for level in (10, 127, 245)}
    assert grain[127] == pytest.approx(10, rel=0.1)
    assert max(grain[10], grain[245]) < 0.6 * grain[127]
    camera = [noise_of(flat(level), DAMAGES["camera"])[8:-8].std() for level in (50, 220)]
    assert camera[0] > camera[1] > 3


def test_brightness_loses_its_noise_before_colours_do_and_sharpening_adds_to_it() -> None:
    noise = {chroma: noise_of(flat(128), partial(correlated, sigma=20, chroma=chroma)) for chroma in (0.0, 0.9)}
    assert noise[0.9].mean(2).std() < 0.2 * noise[0.0].mean(2).std()
    assert noise[0.9].std() > 0.7 * noise[0.0].std()
    plain, sharp = (
        noise_of(flat(128), partial(correlated, sigma=10, blur=0.8, sharpening=each)) for each in (0.0, 1.5)
    )
    assert sharp.std() > 1.3 * plain.std()


def test_demosaicing_is_exact_where_colours_are_even_and_follows_edges() -> None:
    pixels = flat(100)
    assert np.abs(noise_of(pixels, partial(raw_noise, sigma=1e-6))).max() <= 1
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    edge = (columns >= 16).float().expand(3, -1, -1) * 0.8 + 0.1
    sites = torch.stack(
        [(rows % 2 == 0) & (columns % 2 == 0), (rows + columns) % 2 == 1, (rows % 2 + columns % 2) == 2]
    )
    errors = [
        (each - edge).abs()[:, 2:-2, 2:-2].mean() for each in (bilinear(edge * sites), directed(edge * sites, sites))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_webp_and_jpeg_differ_and_lose_more_at_lower_quality() -> None:
    picture = np.asarray(Image.effect_noise((64, 64), 60).convert("RGB"))
    lost = {
        (kind, quality): np.square(compressed(picture, quality, kind=kind) - picture.astype(float)).mean()
        for kind in ("JPEG", "WEBP")
        for quality in (10, 90)
    }
    for kind in ("JPEG", "WEBP"):
        assert lost[kind, 10] > 2 * lost[kind, 90] > 0
    assert lost["JPEG", 10] != lost["WEBP", 10]
