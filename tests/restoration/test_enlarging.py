"""Enlarging by a wavelet flow: a picture and its details, which the seed draws."""

import pytest
import torch
import torch.nn.functional as F
from registry import random_images, tiny_glow, tiny_wavelet_flow

from glow_app.models.image_model import ImageModel
from glow_app.restoration import restore


@pytest.mark.parametrize(("num_bits", "factor", "sides"), [(8, 2, (4, 4)), (5, 4, (3, 5)), (3, None, (4, 4))])
def test_the_means_of_draws_are_the_picture(num_bits: int, factor: int | None, sides: tuple[int, int]) -> None:
    model = ImageModel(tiny_wavelet_flow(), num_bits).eval()
    small = random_images(1, (3, *sides))[0] // 2 + 64
    draws = restore(model, small, 8, 0.1, seeds=3, factor=factor).draws
    factor = factor or 4
    assert draws.shape == (8, 3, factor * sides[0], factor * sides[1])
    means = F.avg_pool2d(draws.float(), factor)
    is_inside = (F.max_pool2d(draws.float(), factor) < 255) & (-F.max_pool2d(-draws.float(), factor) > 0)
    assert is_inside.sum() > 20
    assert (means - small)[is_inside].abs().max() <= 0.5
    assert draws.float().std(0).mean() > 5
    certain = restore(model, small, 2, 0.0, seeds=3, factor=factor)
    assert torch.equal(certain.draws[0], certain.draws[1])
    assert not torch.equal(certain.draws[0], draws[0])


def test_the_details_are_those_of_the_samples_of_the_seeds() -> None:
    model = ImageModel(tiny_wavelet_flow(), 8).eval()
    noise = model.base_noise([5], [0.1, 0.2, 0.1])
    values = model.decode_values(noise, None)
    for factor, exponent in ((4, 2), (2, 1)):
        small = F.avg_pool2d(values, factor).add(0.5).mul(256).floor().clamp(0, 255).to(torch.uint8)
        draw = restore(model, small[0], 1, [0.1, 0.2, 0.1], 5, factor=factor).draws[0]
        expected = (values[0] * 256 + 127.5).clamp(0, 255)
        assert (draw - expected).abs().max() <= 2 * exponent, "of rounding the small picture"


def test_a_smaller_picture_has_the_details_of_coarser_levels() -> None:
    model = ImageModel(tiny_wavelet_flow(image_shape=(3, 16, 16), detail_steps=[1, 1, 2], detail_features=4), 8).eval()
    with torch.no_grad():
        for parameter in model.flow.split_priors[0].parameters():
            parameter.fill_(float("nan"))
    assert restore(model, random_images(1, (3, 4, 4))[0], 1, 0.5, 0, factor=2).draws.shape[2:] == (8, 8)
    with pytest.raises(FloatingPointError):
        restore(model, random_images(1, (3, 4, 4))[0], 1, 0.5, 0, factor=4)


def test_what_cannot_be_enlarged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ImageModel(tiny_wavelet_flow(), 8).eval()
    for factor in (3, 8):
        with pytest.raises(ValueError, match=f"factor is {factor}; expected one of 2, 4"):
            restore(model, random_images(1, (3, 4, 4))[0], factor=factor)
    with pytest.raises(ValueError, match="the condition has 1 channels; expected 3"):
        restore(model, random_images(1, (1, 4, 4))[0])
    monkeypatch.setattr("glow_app.restoration.restoring._MOST_ENLARGED", 63)
    with pytest.raises(ValueError, match="expected at most"):
        restore(model, random_images(1, (3, 2, 2))[0])
    with pytest.raises(ValueError, match="not a restoration model"):
        restore(ImageModel(tiny_glow(), 8), random_images(1, (3, 4, 4))[0])
