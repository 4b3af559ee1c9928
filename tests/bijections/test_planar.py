import math

import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.bijections import Planar
from glow_app.bijections.planar import MIN_SLOPE


@torch.no_grad()
def planar(w: Tensor, u: Tensor, b: float = 0.3) -> Planar:
    flow = Planar(len(w)).to(w.dtype)
    flow.w.copy_(w)
    flow.u.copy_(u)
    flow.b.fill_(b)
    return flow


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_it_starts_near_the_identity_and_learns_at_once() -> None:
    flow = Planar(6, 3)
    x, context = random(50, 6, dtype=torch.float32), random(50, 3, seed=1, dtype=torch.float32)
    z, log_det = flow(x, context)
    assert (z - x).abs().max() < 0.2
    (z.square().sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-3 for p in flow.parameters())
    same = planar(random(3), torch.zeros(3))
    for y, log_det in (same(random(20, 3)), same.inverse(random(20, 3))):
        torch.testing.assert_close(y, random(20, 3), rtol=0, atol=1e-15)
        assert torch.equal(log_det, torch.zeros_like(log_det))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_is_bounded_however_far_u_leans_back(dtype: torch.dtype) -> None:
    w, x = random(4, dtype=dtype), 10 * random(500, 4, seed=1, dtype=dtype)
    for size in (0.1, 3.0, 1e4):
        flow = planar(w, -size * w)
        z, log_det = flow(x)
        assert log_det.isfinite().all()
        assert log_det.exp().min() >= MIN_SLOPE * (1 - 1e-6)
        assert log_det.max() <= 0
        (z.sum() + log_det.sum()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


def relative(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().amax(1) / (1 + expected.abs().amax(1))


@pytest.mark.parametrize("w_size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("z_size", [1.0, 1e4])
@pytest.mark.parametrize("lean", [-1e4, -2.0, 2.0])
def test_the_inverse_is_exact_for_adversarial_parameters(w_size: float, z_size: float, lean: float) -> None:
    w = w_size * random(5)
    u = lean * w if lean == -1e4 else lean * w / w.square().sum() + 0.3 * random(5, seed=1) / max(w_size, 1)
    z = z_size * random(100, 5, seed=2)
    flow = planar(w, u)
    x, log_det = flow.inverse(z)
    back, forward_log_det = flow(x)
    assert (relative(back, z) <= 1e-10).all()
    assert (relative(flow.inverse(flow(z)[0])[0], z) <= 1e-10).all()
    torch.testing.assert_close(forward_log_det, -log_det, rtol=0, atol=1e-8)

    # In float32 an exact inverse is the float64 one, rounded. Where the map is steep the z of a rounded x is far away,
    # which is no fault of the inverse.
    x, log_det = planar(w.float(), u.float()).inverse(z.float())
    exact, exact_log_det = planar(w.float().double(), u.float().double()).inverse(z.float().double())
    assert (relative(x.double(), exact) <= 1e-6).all()
    torch.testing.assert_close(log_det.double(), exact_log_det, rtol=1e-6, atol=1e-6)


def test_the_root_is_found_for_every_slope() -> None:
    w = torch.ones(1, dtype=torch.float64)
    # Powers of two, where the spacing of numbers changes and rounding is least even, and what lies between.
    powers = 2.0 ** torch.arange(-60, 40, dtype=torch.float64)
    z = torch.cat([powers, 1.3 * powers, -powers, -1.7 * powers])[:, None]
    for exponent in range(-18, 9, 3):
        for factor in (-1.9, -1.0, 3.7):
            flow = planar(w, factor * 10.0**exponent * w, b=0.0)
            torch.testing.assert_close(flow(flow.inverse(z)[0])[0], z, rtol=1e-7, atol=0)


def test_no_w_is_a_shift_with_finite_gradients() -> None:
    u, x = random(3, seed=1), random(10, 3)
    flow = planar(torch.zeros(3, dtype=torch.float64), u)
    z, log_det = flow(x)
    torch.testing.assert_close(z, x + math.tanh(0.3) * u)
    torch.testing.assert_close(flow.inverse(z)[0], x)
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_is_an_error(value: float) -> None:
    z = torch.zeros(3, 2)
    z[1, 0] = value
    with pytest.raises(FloatingPointError, match="1 of 3 latents have no finite inverse"):
        perturb(Planar(2)).inverse(z)
