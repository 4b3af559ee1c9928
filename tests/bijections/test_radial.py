import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.bijections import Radial
from glow_app.bijections.radial import MIN_SLOPE


@torch.no_grad()
def radial(num_features: int, raw_alpha: float, beta: float, dtype: torch.dtype = torch.float64) -> Radial:
    flow = Radial(num_features).to(dtype)
    flow.center.copy_(random(num_features, seed=9))
    flow.raw_alpha.fill_(raw_alpha)
    flow.beta.fill_(beta)
    return flow


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative(found: Tensor, expected: Tensor) -> Tensor:
    return (found - expected).abs().amax(1) / (1 + expected.abs().amax(1))


@pytest.mark.parametrize("raw_alpha", [-1e4, -3.0, 0.0, 40.0])
def test_no_beta_is_the_identity(raw_alpha: float) -> None:
    x = random(20, 3)
    flow = radial(3, raw_alpha, beta=0.0)
    for y, log_det in (flow(x), flow.inverse(x)):
        torch.testing.assert_close(y, x, rtol=0, atol=1e-15)
        assert torch.equal(log_det, torch.zeros(20, dtype=torch.float64))


def test_it_starts_near_the_identity_and_learns_at_once() -> None:
    torch.manual_seed(0)
    flow = Radial(6, 3)
    x, context = random(50, 6).float(), random(50, 3, seed=1).float()
    z, log_det = flow(x, context)
    assert (z - x).abs().max() < 0.1
    assert log_det.abs().max() < 0.1
    (z.square().sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 1e-3 for p in flow.parameters())


def test_the_formula_of_the_paper() -> None:
    flow = radial(3, raw_alpha=0.4, beta=-1.5)
    x = random(50, 3)
    z, log_det = flow(x)
    offset = x - flow.center
    r = offset.norm(dim=1)
    # Both of the paper's parameters, back from two points.
    push = (z - x).norm(dim=1) / r
    first, second = 0, int((r - r[0]).abs().argmax())
    alpha = (push[second] * r[second] - push[first] * r[first]) / (push[first] - push[second])
    beta = -push[first] * (alpha + r[first])
    assert beta < 0
    h, slope = 1 / (alpha + r), -1 / (alpha + r).square()
    torch.testing.assert_close(z, x + (beta * h)[:, None] * offset)
    expected = 2 * (1 + beta * h).log() + (1 + beta * h + beta * slope * r).log()
    torch.testing.assert_close(log_det, expected)


@pytest.mark.parametrize("num_features", [1, 2, 5])
# Without a long beta over a short alpha: a point that is torn so far out has no x of float64 near enough to the center.
@pytest.mark.parametrize(
    ("raw_alpha", "beta"),
    [(a, b) for a in (-1e4, -8.0, 0.5, 40.0, 1e4) for b in (-1e4, -3.0, 2.0, 1e4) if a > 0 or b < 1e4],
)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_the_inverse_is_exact_for_adversarial_parameters(
    num_features: int, raw_alpha: float, beta: float, size: float
) -> None:
    flow = radial(num_features, raw_alpha, beta)
    z = flow.center.detach() + size * random(200, num_features, seed=1)
    x, log_det = flow.inverse(z)
    back, forward_log_det = flow(x)
    assert (relative(back, z) <= 1e-10).all()
    assert (relative(flow.inverse(flow(z)[0])[0], z) <= 1e-10).all()
    assert log_det.isfinite().all()
    torch.testing.assert_close(forward_log_det, -log_det, rtol=1e-8, atol=1e-6)

    narrow = radial(num_features, raw_alpha, beta, torch.float32)
    x, log_det = narrow.inverse(z.float())
    exact, exact_log_det = narrow.double().inverse(z.float().double())
    assert x.dtype == log_det.dtype == torch.float32
    assert (relative(x.double(), exact) <= 1e-6).all()
    torch.testing.assert_close(log_det.double(), exact_log_det, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6])
def test_a_short_radius_comes_back_without_cancellation(size: float) -> None:
    flow = radial(3, raw_alpha=-1e4, beta=1e4)
    flow.center.data.zero_()
    x = size * random(50, 3)
    z, log_det = flow(x)
    back, inverse_log_det = flow.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-9, atol=0)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-9, atol=0)


@pytest.mark.parametrize("beta", [-1e4, -5.0])
@pytest.mark.parametrize("raw_alpha", [-1e4, 0.0, 1e3])
def test_the_slope_is_bounded_and_its_bound_reached_at_the_center(beta: float, raw_alpha: float) -> None:
    flow = radial(1, raw_alpha, beta, torch.float32)
    x = flow.center.detach() + torch.cat([torch.zeros(1, 1), random(50, 1).float()])
    z, log_det = flow(x)
    assert z.isfinite().all()
    assert log_det.exp().min() >= MIN_SLOPE * (1 - 1e-6)
    assert log_det.max() <= 0
    if beta == -1e4:
        assert log_det[0].exp().item() == pytest.approx(MIN_SLOPE, rel=1e-5)


@pytest.mark.parametrize("beta", [-1e4, -1.0, 1.0, 1e4])
@pytest.mark.parametrize("raw_alpha", [-1e4, 0.0, 1e4])
def test_gradients_are_finite_at_the_center(beta: float, raw_alpha: float) -> None:
    flow = radial(3, raw_alpha, beta, torch.float32)
    for direction in (flow.forward, flow.inverse):
        flow.zero_grad()
        x = flow.center.detach().repeat(2, 1).requires_grad_()
        y, log_det = direction(x)
        assert torch.equal(y, flow.center.expand(2, -1))
        (y.sum() + log_det.sum()).backward()
        for tensor in (x, *flow.parameters()):
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()


def test_the_jacobians_of_both_directions_are_inverse() -> None:
    for beta in (-2.0, 3.0):
        flow = radial(4, 0.3, beta)
        x = random(4, seed=1)
        z = flow(x[None])[0][0].detach()
        ahead = torch.autograd.functional.jacobian(lambda values, flow=flow: flow(values[None])[0][0], x)
        back = torch.autograd.functional.jacobian(lambda values, flow=flow: flow.inverse(values[None])[0][0], z)
        assert (ahead - torch.eye(4)).abs().max() > 0.1
        torch.testing.assert_close(back, torch.linalg.inv(ahead), rtol=0, atol=1e-10)


def test_the_context_moves_the_center_and_beta() -> None:
    flow = perturb(Radial(3, 2).double())
    x, context = random(1, 3).expand(2, -1), torch.zeros(2, 2, dtype=torch.float64)
    context[1] = random(2, seed=1)
    z, log_det = flow(x, context)
    assert log_det[0] != log_det[1]
    shift = flow.projection(context[1:])[0].detach()  # type: ignore[misc]
    for index, (move, push) in enumerate([(torch.zeros(3), 0.0), (shift[:3], shift[3].item())]):
        plain = radial(3, flow.raw_alpha.item(), flow.beta.item() + push)
        plain.center.data.copy_(flow.center.detach() + move)
        torch.testing.assert_close(z[index], plain(x)[0][0])


@pytest.mark.parametrize("shape", [None, (4, 3), (3, 2), (1, 2), (4, 2, 1)])
def test_a_wrong_context_is_a_value_error(shape: tuple[int, ...] | None) -> None:
    flow = Radial(3, 2)
    context = None if shape is None else torch.zeros(shape)
    for direction in (flow.forward, flow.inverse):
        with pytest.raises(ValueError, match=r"Radial expects a context of shape \(4, 2\), got (None|\()"):
            direction(torch.zeros(4, 3), context)


def test_narrow_inputs_give_wide_outputs() -> None:
    flow = perturb(Radial(2))
    x = random(5, 2).bfloat16()
    for direction in (flow.forward, flow.inverse):
        for found, expected in zip(direction(x), direction(x.float()), strict=True):
            assert found.dtype == torch.float32
            assert torch.equal(found, expected)
