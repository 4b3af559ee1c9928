import math

import pytest
import torch

from glow_app import likelihood
from glow_app.likelihood import (
    bin_centres,
    bits_per_dim,
    dequantise,
    quantise,
    standard_normal_log_density,
    to_uint8,
)

ALL_VALUES = torch.arange(256, dtype=torch.uint8)

every_num_bits = pytest.mark.parametrize("num_bits", range(1, 9))


@every_num_bits
def test_quantise_keeps_the_high_bits(num_bits: int) -> None:
    levels = quantise(ALL_VALUES, num_bits)
    assert levels.dtype == torch.uint8
    assert levels.tolist() == [value // 2 ** (8 - num_bits) for value in range(256)]


@every_num_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bin_centres_come_back(num_bits: int, dtype: torch.dtype) -> None:
    levels = quantise(ALL_VALUES, num_bits)
    centres = bin_centres(levels, num_bits, dtype)
    assert centres.dtype == dtype
    assert centres.min() == 0.5 / 2**num_bits - 0.5
    assert centres.max() == 0.5 - 0.5 / 2**num_bits
    quantised = to_uint8(centres, num_bits)
    assert quantised.dtype == torch.uint8
    assert torch.equal(quantise(quantised, num_bits), levels), "a quantised image has the same levels"
    assert torch.equal(to_uint8(bin_centres(quantise(quantised, num_bits), num_bits), num_bits), quantised)


@every_num_bits
def test_the_levels_spread_over_the_whole_range(num_bits: int) -> None:
    quantised = to_uint8(bin_centres(torch.arange(2**num_bits), num_bits), num_bits)
    assert quantised[0] == 0
    assert quantised[-1] == 255
    assert quantised.tolist() == [round(255 * level / (2**num_bits - 1)) for level in range(2**num_bits)]
    if num_bits == 8:
        assert torch.equal(quantised, ALL_VALUES)


@every_num_bits
def test_half_a_bin_of_error_changes_nothing(num_bits: int) -> None:
    levels = quantise(ALL_VALUES, num_bits)
    centres = bin_centres(levels, num_bits)
    for share in (-0.49, 0.49):
        assert torch.equal(to_uint8(centres + share / 2**num_bits, num_bits), to_uint8(centres, num_bits))


@every_num_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dequantised_values_come_back(num_bits: int, dtype: torch.dtype) -> None:
    levels = quantise(ALL_VALUES.repeat(1000), num_bits)
    y = dequantise(levels, num_bits, dtype, torch.Generator().manual_seed(0))
    assert y.dtype == dtype
    assert y.min() >= -0.5
    assert y.max() < 0.5
    inside = y * 2**num_bits + 2 ** (num_bits - 1) - levels
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert abs(inside.mean() - 0.5) < 0.01
    assert torch.equal(quantise(to_uint8(y, num_bits), num_bits), levels)


@every_num_bits
@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24, 1 - 2**-18], ids=["0", "1 - 2^-24", "1 - 2^-18"])
def test_the_extremes_of_the_noise_stay_in_the_bin(
    num_bits: int, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.rand does give 1 - 2**-24 in float32, and one value in 2**17 is large enough to round 254 + u up to 255.
    monkeypatch.setattr(
        likelihood.torch, "rand", lambda shape, dtype, device, generator: torch.full(shape, noise, dtype=dtype)
    )
    levels = quantise(ALL_VALUES, num_bits)
    y = dequantise(levels, num_bits)
    assert (y < 0.5).all()
    assert torch.equal(to_uint8(y, num_bits), to_uint8(bin_centres(levels, num_bits), num_bits))


def test_the_generator_decides_the_noise() -> None:
    levels = ALL_VALUES
    first, again, other = (dequantise(levels, 8, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every_num_bits
def test_values_outside_the_range_go_to_its_ends(num_bits: int) -> None:
    y = torch.tensor([-math.inf, -1e30, -0.6, 0.6, 1e30, math.inf])
    assert to_uint8(y, num_bits).tolist() == [0, 0, 0, 255, 255, 255]
    assert to_uint8(torch.tensor([math.nan]), num_bits).shape == (1,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.int8, torch.bool])
def test_only_uint8_images_are_quantised(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"images are {dtype}; expected uint8"):
        quantise(torch.zeros(2, 3, dtype=dtype), 8)


def test_the_standard_normal_density_of_all_latents_together() -> None:
    latents = [torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)]
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = sum(normal.log_prob(latent).flatten(1).sum(1) for latent in latents)
    torch.testing.assert_close(standard_normal_log_density(latents), expected)


@every_num_bits
def test_bits_per_dim_of_a_uniform_density(num_bits: int) -> None:
    assert torch.equal(bits_per_dim(torch.zeros(4), 12, num_bits), torch.full((4,), float(num_bits)))
    assert bits_per_dim(torch.tensor(12 * math.log(2)), 12, num_bits).item() == pytest.approx(num_bits - 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_noise_that_would_be_rounded_into_other_bins_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=r"expected torch\.float32 or torch\.float64"):
        dequantise(ALL_VALUES, 8, dtype)


@pytest.mark.parametrize("num_bits", [0, 9])
def test_numbers_of_bits_that_an_image_does_not_have_are_refused(num_bits: int) -> None:
    with pytest.raises(ValueError, match=f"num_bits is {num_bits}; expected 1 to 8"):
        quantise(ALL_VALUES, num_bits)
