import math
from collections.abc import Callable

import pytest
import torch
from registry import perturb
from torch import Tensor
from torch.func import functional_call

from glow_app.bijections import Bijection, Chain, DiagonalAffine, Inverse, Planar
from glow_app.bijections.planar import _NONLINEARITIES, LEAK
from glow_app.likelihood import standard_normal_log_density

NONLINEARITIES = ("tanh", "leaky")
both = pytest.mark.parametrize("nonlinearity", NONLINEARITIES)


@torch.no_grad()
def planar(nonlinearity: str, w: Tensor, u: Tensor, min_slope: float = 1e-3, b: float = 0.3) -> Planar:
    flow = Planar(len(w), nonlinearity=nonlinearity, min_slope=min_slope).to(w.dtype)  # type: ignore[arg-type]
    flow.w.copy_(w)
    flow.u.copy_(u)
    flow.b.fill_(b)
    return flow


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@both
def test_the_nonlinearity_and_its_slope(nonlinearity: str) -> None:
    h = _NONLINEARITIES[nonlinearity]
    ends = torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float64)
    a = torch.cat([torch.linspace(-50, 50, 4001, dtype=torch.float64), ends])
    a.requires_grad_()
    value = h.value(a)
    (slope,) = torch.autograd.grad(value.sum(), a)
    assert value[-2] == 0
    torch.testing.assert_close(h.slope(a), slope, rtol=1e-12, atol=1e-15)
    assert (h.slope(a) >= h.slopes[0]).all()
    assert (h.slope(a) <= h.slopes[1]).all()
    assert slope.min().item() == pytest.approx(h.slopes[0], abs=1e-9)
    assert slope.max().item() == pytest.approx(h.slopes[1], abs=1e-4)
    expected = (
        torch.tanh(a) if nonlinearity == "tanh" else LEAK * a + (1 - LEAK) * ((1 + a.clamp(max=30).exp()) / 2).log()
    )
    torch.testing.assert_close(value[a < 20], expected[a < 20])


@both
def test_no_u_is_the_identity(nonlinearity: str) -> None:
    flow = planar(nonlinearity, random(3), torch.zeros(3))
    x = random(20, 3, seed=1)
    for y, log_det in (flow(x), flow.inverse(x)):
        torch.testing.assert_close(y, x, rtol=0, atol=1e-15)
        assert torch.equal(log_det, torch.zeros(20, dtype=torch.float64))


@both
def test_it_starts_near_the_identity_and_learns_at_once(nonlinearity: str) -> None:
    torch.manual_seed(0)
    flow = Planar(6, 3, nonlinearity)  # type: ignore[arg-type]
    x, context = random(50, 6, dtype=torch.float32), random(50, 3, seed=1, dtype=torch.float32)
    z, log_det = flow(x, context)
    assert (z - x).abs().max() < 0.2
    assert log_det.abs().max() < 0.2
    (z.square().sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-3 for p in flow.parameters())


@both
@pytest.mark.parametrize("min_slope", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_is_bounded_however_far_u_leans_back(nonlinearity: str, min_slope: float, dtype: torch.dtype) -> None:
    w, x = random(4, dtype=dtype), 10 * random(500, 4, seed=1, dtype=dtype)
    # With no bound at all, -1e4 would round the slope to 0.
    for size in (0.1, 3.0) if min_slope == 0 else (0.1, 3.0, 1e4):
        flow = planar(nonlinearity, w, -size * w, min_slope)
        z, log_det = flow(x)
        assert z.isfinite().all()
        assert log_det.isfinite().all()
        assert log_det.exp().min() >= min_slope * (1 - 1e-6)
        assert log_det.max() <= 0
        (z.sum() + log_det.sum()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())
    if nonlinearity == "leaky" and min_slope > 0:
        # Far out on its steep side the bound is reached.
        assert log_det.min().item() == pytest.approx(math.log(min_slope), abs=1e-5)


@both
@pytest.mark.parametrize("w_size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("z_size", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("lean", [-1e4, -2.0, 2.0])
def test_the_inverse_is_exact_for_adversarial_parameters(
    nonlinearity: str, w_size: float, z_size: float, lean: float
) -> None:
    w = w_size * random(5)
    u = lean * w if lean == -1e4 else lean * w / w.square().sum() + 0.3 * random(5, seed=1) / max(w_size, 1)
    z = z_size * random(400, 5, seed=2)
    flow = planar(nonlinearity, w, u)
    x, log_det = flow.inverse(z)
    back, forward_log_det = flow(x)
    assert (relative(back, z) <= 1e-10).all()
    assert (relative(flow.inverse(flow(z)[0])[0], z) <= 1e-10).all()
    assert log_det.isfinite().all()
    torch.testing.assert_close(forward_log_det, -log_det, rtol=0, atol=1e-8)

    # In float32 an exact inverse is the float64 one, rounded. Where the map is steep the z of a rounded x is far away,
    # which is no fault of the inverse.
    narrow = planar(nonlinearity, w.float(), u.float())
    x, log_det = narrow.inverse(z.float())
    exact, exact_log_det = planar(nonlinearity, w.float().double(), u.float().double()).inverse(z.float().double())
    assert x.dtype == log_det.dtype == torch.float32
    assert (relative(x.double(), exact) <= 1e-6).all()
    torch.testing.assert_close(log_det.double(), exact_log_det, rtol=1e-6, atol=1e-6)


@both
def test_pushes_of_all_sizes_have_their_root(nonlinearity: str) -> None:
    w = torch.ones(1, dtype=torch.float64)
    # Powers of two, where the spacing of numbers changes and rounding is least even, and what lies between.
    powers = 2.0 ** torch.arange(-60, 40, dtype=torch.float64)
    z = torch.cat([powers, 1.3 * powers, -powers, -1.7 * powers])[:, None]
    for exponent in range(-18, 9):
        for factor in (-1.0, -1.9, 1.0, 3.7):
            flow = planar(nonlinearity, w, factor * 10.0**exponent * w, b=0.0)
            torch.testing.assert_close(flow(flow.inverse(z)[0])[0], z, rtol=1e-7, atol=0)


@both
@pytest.mark.parametrize("lean", [-30.0, -1.0, 3.0])
def test_the_inverse_is_that_of_plain_bisection(nonlinearity: str, lean: float) -> None:
    w = random(3)
    flow = planar(nonlinearity, w, lean * w / w.square().sum() + 0.5 * random(3, seed=1))
    z = 20 * random(300, 3, seed=2)
    # Along w the forward map is an increasing function of w.x, whatever lies across.
    target, lower = z @ w, torch.full((300,), -1e6, dtype=torch.float64)
    upper = -lower
    for _ in range(100):
        middle = (lower + upper) / 2
        ahead = flow((middle / w.square().sum())[:, None] * w)[0] @ w > target
        lower, upper = torch.where(ahead, lower, middle), torch.where(ahead, middle, upper)
    torch.testing.assert_close(flow.inverse(z)[0] @ w, lower, rtol=1e-11, atol=1e-11)


def relative(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().amax(1) / (1 + expected.abs().amax(1))


@both
@pytest.mark.parametrize("lean", [-6.0, 2.0])
def test_the_implicit_gradient_against_finite_differences(nonlinearity: str, lean: float) -> None:
    flow = perturb(Planar(3, 2, nonlinearity).double())  # type: ignore[arg-type]
    with torch.no_grad():
        flow.u.add_(lean * flow.w / flow.w.square().sum())
    backwards = Inverse(flow)
    names = [name for name, _ in backwards.named_parameters()]
    inputs = [2 * random(2, 3, seed=1), random(2, 2, seed=2), *backwards.parameters()]

    def inverse(z: Tensor, context: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        return functional_call(backwards, dict(zip(names, parameters, strict=True)), (z, context))

    tensors = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    assert torch.autograd.gradcheck(inverse, tuple(tensors))


@both
def test_the_jacobians_of_both_directions_are_inverse(nonlinearity: str) -> None:
    flow = perturb(Planar(4, nonlinearity=nonlinearity).double(), size=1.0)  # type: ignore[arg-type]
    x = random(4, seed=1)
    z = flow(x[None])[0][0].detach()
    ahead = torch.autograd.functional.jacobian(lambda values: flow(values[None])[0][0], x)
    back = torch.autograd.functional.jacobian(lambda values: flow.inverse(values[None])[0][0], z)
    assert (ahead - torch.eye(4)).abs().max() > 0.1
    torch.testing.assert_close(back, torch.linalg.inv(ahead), rtol=0, atol=1e-10)


@both
def test_no_w_is_a_shift_with_finite_gradients(nonlinearity: str) -> None:
    u, x = random(3, seed=1), random(10, 3)
    flow = planar(nonlinearity, torch.zeros(3, dtype=torch.float64), u)
    h = _NONLINEARITIES[nonlinearity].value(torch.tensor(0.3, dtype=torch.float64))
    z, log_det = flow(x)
    torch.testing.assert_close(z, x + h * u)
    torch.testing.assert_close(flow.inverse(z)[0], x)
    assert torch.equal(log_det, torch.zeros(10, dtype=torch.float64))
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


def test_the_context_moves_b_and_u() -> None:
    flow = perturb(Planar(3, 2).double())
    x = random(1, 3).expand(4, -1)
    context = torch.zeros(4, 2, dtype=torch.float64)
    context[1:] = random(3, 2, seed=1)
    z, log_det = flow(x, context)
    assert len(log_det.unique()) == 4
    plain = planar("tanh", flow.w.detach(), flow.u.detach(), b=flow.b.item())
    torch.testing.assert_close(z[0], plain(x)[0][0])
    shift = flow.projection(context[1:2])[0].detach()  # type: ignore[misc]
    moved = planar("tanh", flow.w.detach(), flow.u.detach() + shift[:3], b=(flow.b + shift[3]).item())
    torch.testing.assert_close(z[1], moved(x)[0][0])


@pytest.mark.parametrize("shape", [None, (4, 3), (3, 2), (1, 2), (4, 2, 1)])
def test_a_wrong_context_is_a_value_error(shape: tuple[int, ...] | None) -> None:
    flow = Planar(3, 2)
    context = None if shape is None else torch.zeros(shape)
    for direction in (flow.forward, flow.inverse):
        with pytest.raises(ValueError, match=r"Planar expects a context of shape \(4, 2\), got (None|\()"):
            direction(torch.zeros(4, 3), context)


def test_wrong_arguments_are_value_errors() -> None:
    with pytest.raises(ValueError, match="nonlinearity is 'relu'; expected one of tanh, leaky"):
        Planar(2, nonlinearity="relu")  # type: ignore[arg-type]
    for min_slope in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"min_slope is {min_slope}; expected a number from 0 to 1"):
            Planar(2, min_slope=min_slope)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_is_an_error(value: float) -> None:
    z = torch.zeros(3, 2)
    z[1, 0] = value
    with pytest.raises(FloatingPointError, match="1 of 3 latents have no finite inverse; look for NaN") as error:
        perturb(Planar(2)).inverse(z)
    assert "\n" not in str(error.value)


def test_no_latents_have_no_inverses() -> None:
    x, log_det = Planar(2).inverse(torch.zeros(0, 2))
    assert (x.shape, log_det.shape) == ((0, 2), (0,))


def test_narrow_inputs_give_wide_outputs() -> None:
    flow = perturb(Planar(2))
    x = random(5, 2, dtype=torch.bfloat16)
    for direction in (flow.forward, flow.inverse):
        for found, expected in zip(direction(x), direction(x.float()), strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, expected)


def _planars(nonlinearity: str) -> Callable[[], Bijection]:
    return lambda: Chain(*(Planar(2, nonlinearity=nonlinearity) for _ in range(4)))  # type: ignore[arg-type]


def _mixed() -> Bijection:
    return Chain(Planar(2), Planar(2), DiagonalAffine((2,)), Planar(2, nonlinearity="leaky"), Planar(2))


@pytest.mark.parametrize(
    "constructor",
    [
        pytest.param(_planars("tanh"), id="tanh"),
        pytest.param(_planars("leaky"), id="leaky"),
        pytest.param(_mixed, id="mixed"),
    ],
)
@torch.no_grad()
def test_a_density_in_the_plane_integrates_to_one(constructor: Callable[[], Bijection]) -> None:
    torch.manual_seed(0)
    flow = perturb(constructor().double(), seed=1, size=0.7)
    samples = flow.inverse(random(20_000, 2))[0]
    assert flow(samples)[1].std() > 0.05, "far from linear"
    # The grid reaches farther than any sample.
    centre, half_sides = samples.mean(0), 1.3 * (samples - samples.mean(0)).abs().amax(0)
    num = 500
    ticks = 2 * (torch.arange(num, dtype=torch.float64) + 0.5) / num - 1
    z, log_det = flow(centre + torch.cartesian_prod(ticks, ticks) * half_sides)
    total = (standard_normal_log_density([z]) + log_det).exp().sum() * (2 * half_sides / num).prod()
    assert math.isclose(total.item(), 1.0, abs_tol=1e-3)


@both
def test_the_inverse_has_its_higher_derivatives_too(nonlinearity: str) -> None:
    flow = planar(nonlinearity, random(3), 2 * random(3, seed=1))
    z, direction = random(3, seed=2), random(3, seed=3)

    def along(step: Tensor) -> Tensor:
        return flow.inverse((z + step * direction)[None])[0].sum()

    found, step = [], torch.zeros((), dtype=torch.float64, requires_grad=True)
    value = along(step)
    for _ in range(3):
        (value,) = torch.autograd.grad(value, step, create_graph=True)
        found.append(value)
    for order, derivative in enumerate(found[1:], 1):
        lower = torch.func.grad(along) if order == 1 else torch.func.grad(torch.func.grad(along))
        ends = [lower(torch.tensor(side * 1e-4, dtype=torch.float64)) for side in (1, -1)]
        torch.testing.assert_close(derivative, (ends[0] - ends[1]) / 2e-4, rtol=1e-5, atol=1e-7)
