"""Figures of restorations."""

import math

import numpy as np
import pytest
import torch
from registry import random_images, tiny_restorer
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation import mean_bits
from glow_app.restoration import (
    INTERVALS,
    Clean,
    Fill,
    Upscale,
    measure_restorations,
    psnr,
    restoration_verdict,
    restore,
)
from glow_app.restoration.measures import ssim, true_positions
from glow_app.seeding import image_generator, image_generators


def held_out(num: int = 5) -> ImageSet:
    images = random_images(num, seed=3) // 4 + 96
    return ImageSet(images.numpy(), torch.zeros(num, dtype=torch.int64), ())


def test_psnr_of_known_errors() -> None:
    truth = torch.full((3, 3, 8, 8), 100, dtype=torch.uint8)
    pictures = truth.clone()
    pictures[0] += 5
    pictures[1, :, :4] += 10
    exact = 10 * math.log10(12 * 255**2)
    expected = [20 * math.log10(255 / 5), 20 * math.log10(255 / 10) + 10 * math.log10(2), exact]
    assert psnr(pictures, truth).tolist() == pytest.approx(expected)
    missing = torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    missing[1, :, :4] = True
    of_missing = psnr(pictures, truth, missing)
    assert float(of_missing[1]) == pytest.approx(20 * math.log10(255 / 10))
    assert of_missing[2].isnan()


def test_ssim_falls_with_the_error() -> None:
    truth = random_images(3, (3, 16, 16))
    noisier = torch.stack([truth[0], truth[1] // 2 + 64, random_images(1, (3, 16, 16), 9)[0]])
    same, duller, other = ssim(noisier, truth).tolist()
    assert same == pytest.approx(1)
    assert 1 > duller > other


@pytest.mark.parametrize("deviation", [0.3, 3.0, 30.0])
def test_intervals_of_draws_from_the_distribution_of_the_truth_hold_their_share(deviation: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(num: int, width: float = 1.0) -> Tensor:
        return (128 + width * deviation * torch.randn(num, 3, 64, 64, generator=generator)).round().clamp(0, 255)

    def shares(draws: Tensor, truth: Tensor) -> list[float]:
        positions = true_positions(draws, truth, generator)
        return [float(((positions - 0.5).abs() <= share / 2).float().mean()) for share in INTERVALS]

    draws, truth = draw(32), draw(1)[0]
    assert shares(draws, truth) == pytest.approx([0.5, 0.9], abs=0.015)
    within_half, within_most = shares(draw(32, 0.5), truth)
    assert within_half < 0.48
    assert within_most < 0.85
    assert shares(draw(32, 2.0), truth)[1] > 0.91


def test_figures_are_those_of_the_draws() -> None:
    model, images = tiny_restorer(Upscale(), 0.01), held_out()
    found = measure_restorations(model, images, 3, 0.7, seed=10, num_shown=2)
    base, mean, draw = [], [], []
    for number in range(5):
        truth = torch.from_numpy(images.images[number])[None]
        small = Upscale().damage(truth)
        restoration = restore(model, small[0], 3, 0.7, seeds=15 + 32 * number)
        base.append(psnr(Upscale().condition(small), truth))
        mean.append(psnr(restoration.mean[None], truth))
        draw.append(psnr(restoration.draws, truth.expand(3, -1, -1, -1)).mean()[None])
    for name, values in (("base", base), ("mean", mean), ("draw", draw)):
        ratios = torch.cat(values).double()
        quality = found.qualities[name]
        assert quality.psnr.mean == pytest.approx(float(ratios.mean()))
        assert quality.psnr.standard_error == pytest.approx(float(ratios.std()) / math.sqrt(5))
        assert quality.gain.mean == pytest.approx(float((ratios - torch.cat(base)).mean()), abs=1e-6)
    assert list(found.qualities) == ["base", "estimate", "draw", "mean"]
    assert (found.agree, found.exploded, found.draws) == (None, 0, 160)
    assert [*found.shown] == ["truth", "damaged", "draw", "mean", "spread"]
    assert all(pictures.shape == (2, 3, 8, 8) for pictures in found.shown.values())
    assert np.array_equal(found.shown["truth"], images.images[:2])


def test_of_a_filled_picture_the_missing_pixels_count() -> None:
    model, images = tiny_restorer(Fill(), 0.01), held_out()
    found = measure_restorations(model, images, 40, 1.0, seed=2)
    ratios = []
    for number in range(5):
        truth = torch.from_numpy(images.images[number])[None]
        damaged = Fill().damage(truth, image_generator(2 + number))
        missing = (damaged[:, -1:] >= 128).expand_as(truth)
        error = (damaged[:, :-1].float() - truth.float())[missing].square().mean()
        ratios.append(10 * math.log10(255**2 / float(error)))
    assert found.qualities["base"].psnr.mean == pytest.approx(float(np.mean(ratios)))
    assert found.draws == 5 * 40


def test_bits_are_those_given_the_damaged_picture() -> None:
    model, images = tiny_restorer(Clean(), 0.01), held_out()
    pictures, generator = torch.from_numpy(images.images), image_generators(range(4, 9))
    given = model.conditioning.observe(pictures, images.labels, generator)
    expected = model.bits_per_dim(pictures, given, generator=generator)
    assert mean_bits(model, images, seed=4, batch_size=2).mean == pytest.approx(float(expected.double().mean()))


@pytest.mark.parametrize(("within", "word"), [(0.88, "well calibrated"), (0.99, "too wide"), (0.7, "too narrow")])
def test_intervals_of_draws_are_judged(within: float, word: str) -> None:
    (line,) = restoration_verdict({"within": [0.5, within], "samples": {"temperature": 1.0}})
    assert word in line
