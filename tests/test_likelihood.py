import math

import pytest
import torch

from glow_app import likelihood
from glow_app.likelihood import bin_centres, bits_per_dim, dequantise, quantise, standard_normal_log_density, to_uint8

ALL_VALUES = torch.arange(256, dtype=torch.uint8)

every_num_bits = pytest.mark.parametrize("num_bits", range(1, 9))


@every_num_bits
def test_quantisation_round_trips_and_spans_the_whole_range(num_bits: int) -> None:
    levels = quantise(ALL_VALUES, num_bits)
    assert levels.dtype == torch.uint8
    assert levels.tolist() == [value // 2 ** (8 - num_bits) for value in range(256)]
    for dtype in (torch.float32, torch.float64):
        centres = bin_centres(levels, num_bits, dtype)
        assert (centres.min(), centres.max()) == (0.5 / 2**num_bits - 0.5, 0.5 - 0.5 / 2**num_bits)
        quantised = to_uint8(centres, num_bits)
        assert torch.equal(quantise(quantised, num_bits), levels), "a quantised image has the same levels"
        for share in (-0.49, 0.49):  # of a bin
            assert torch.equal(to_uint8(centres + share / 2**num_bits, num_bits), quantised)
    every = to_uint8(bin_centres(torch.arange(2**num_bits), num_bits), num_bits)
    assert every.tolist() == [round(255 * level / (2**num_bits - 1)) for level in range(2**num_bits)]


@every_num_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dequantised_values_round_trip(num_bits: int, dtype: torch.dtype) -> None:
    levels = quantise(ALL_VALUES.repeat(200), num_bits)
    y = dequantise(levels, num_bits, dtype, torch.Generator().manual_seed(0))
    assert y.dtype == dtype
    assert y.min() >= -0.5
    assert y.max() < 0.5
    inside = y * 2**num_bits + 2 ** (num_bits - 1) - levels
    assert 0 <= inside.min() <= inside.max() <= 1
    assert abs(inside.mean() - 0.5) < 0.01
    assert torch.equal(quantise(to_uint8(y, num_bits), num_bits), levels)


@every_num_bits
@pytest.mark.parametrize("noise", [0.0, 1 - 2**-24, 1 - 2**-18], ids=["0", "1 - 2^-24", "1 - 2^-18"])
def test_extreme_noise_stays_in_the_bin(num_bits: int, noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch.rand can return 1 - 2**-24 in float32, and one value in 2**17 is large enough to round 254 + u up to 255.
    monkeypatch.setattr(
        likelihood.torch, "rand", lambda shape, dtype, device, generator: torch.full(shape, noise, dtype=dtype)
    )
    levels = quantise(ALL_VALUES, num_bits)
    y = dequantise(levels, num_bits)
    assert (y < 0.5).all()
    assert torch.equal(to_uint8(y, num_bits), to_uint8(bin_centres(levels, num_bits), num_bits))


def test_values_outside_the_range_are_clamped() -> None:
    y = torch.tensor([-math.inf, -1e30, -0.6, 0.6, 1e30, math.inf])
    assert to_uint8(y, 5).tolist() == [0, 0, 0, 255, 255, 255]


def test_standard_normal_density_sums_over_all_latents() -> None:
    latents = [torch.randn(3, 2, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)]
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = sum(normal.log_prob(latent).flatten(1).sum(1) for latent in latents)
    torch.testing.assert_close(standard_normal_log_density(latents), expected)


@every_num_bits
def test_bits_per_dim_of_a_uniform_density(num_bits: int) -> None:
    assert torch.equal(bits_per_dim(torch.zeros(4), 12, num_bits), torch.full((4,), float(num_bits)))
    assert bits_per_dim(torch.tensor(12 * math.log(2)), 12, num_bits).item() == pytest.approx(num_bits - 1)
