import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import perturb
from torch import Tensor, nn

from glow_app.bijections import ContinuousFlow, SolverError, held_noise, record_solves
from glow_app.bijections.continuous.flow import EXACT_DIMS, EXACT_DIMS_IN_TRAINING
from glow_app.bijections.continuous.trace import divergence, draw_noise
from glow_app.nn import MLPVelocity, Velocity

TIGHT: Any = {"atol": 1e-10, "rtol": 1e-10, "eval_atol": 1e-10, "eval_rtol": 1e-10}
ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
MATRIX = torch.tensor([[0.3, -0.8, 0.1], [0.5, -0.2, 0.4], [0.0, 0.7, 0.6]], dtype=torch.float64)


class LinearVelocity(Velocity):
    r""":math:`3 t^2 A x`: from 0 to 1 it applies the exponential of :math:`A`, whatever happens in between."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(MATRIX.clone())

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        return 3 * t.square() * x @ self.matrix.T


class GivenVelocity(Velocity):
    """A function of the time and the point; records the times."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.times: list[float] = []

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        self.times.append(float(t.detach()))
        return self.scale * self.function(t, x)


def mlp_flow(num_features: int = 3, features: int = 0, size: float = 0.8, **arguments: Any) -> ContinuousFlow:
    torch.manual_seed(0)
    velocity = perturb(MLPVelocity(num_features, 6, context_features=features).double(), size=size)
    return ContinuousFlow(velocity, **arguments)


def points(num: int = 4, *shape: int, seed: int = 1) -> Tensor:
    return torch.randn(num, *(shape or (3,)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("arguments", [TIGHT, {"solver": "rk4", "num_steps": 100}])
def test_a_linear_velocity_has_the_matrix_exponential(arguments: Any) -> None:
    flow, x = ContinuousFlow(LinearVelocity(), **arguments), points()
    for sign, (y, log_det) in ((1, flow(x)), (-1, flow.inverse(x))):
        torch.testing.assert_close(y, x @ torch.linalg.matrix_exp(sign * MATRIX).T, rtol=0, atol=1e-7)
        torch.testing.assert_close(log_det, sign * MATRIX.trace().expand(4), rtol=0, atol=1e-7)


@pytest.mark.parametrize("solver", ["dopri5", *ORDERS])
def test_starts_as_the_identity_to_the_last_bit(solver: Any) -> None:
    x, flow = points().float(), ContinuousFlow(MLPVelocity(3), solver, 2)
    for y, log_det in (flow(x), flow.inverse(x)):
        assert torch.equal(y, x)
        assert torch.equal(log_det, torch.zeros(4))


@pytest.mark.parametrize("solver", ORDERS)
def test_the_error_falls_with_the_order_of_the_solver(solver: Any) -> None:
    x, exact = points(), mlp_flow(**TIGHT)
    expected = torch.cat([value.flatten() for value in exact(x)])

    def error(num_steps: int) -> float:
        found = mlp_flow(solver=solver, num_steps=num_steps)(x)
        return (torch.cat([value.flatten() for value in found]) - expected).norm().item()

    assert math.log2(error(4) / error(8)) == pytest.approx(ORDERS[solver], abs=0.5)


def test_evaluation_is_tighter_than_training() -> None:
    x, (expected, _) = points(), mlp_flow(**TIGHT)(points())
    flow = mlp_flow()

    def cost_and_error() -> tuple[int, float]:
        with record_solves() as record:
            z, _ = flow(x)
        return record.num_evaluations[0], (z - expected).abs().max().item()

    trained, evaluated = cost_and_error(), (flow.eval(), cost_and_error())[1]
    assert trained[0] < evaluated[0]
    assert evaluated[1] < 0.1 * trained[1] < 1e-3


def test_the_exact_trace_is_that_of_the_jacobian() -> None:
    velocity = perturb(MLPVelocity(4, 6, context_features=2).double())
    x, context, t = points(3, 4).requires_grad_(), points(3, 2), torch.tensor(0.4)
    trace, rows = divergence(velocity(t, x, context), x, None, create_graph=True)
    for index in range(3):

        def row(values: Tensor, index: int = index) -> Tensor:
            return velocity(t, values[None], context[index : index + 1])[0]

        jacobian = torch.autograd.functional.jacobian(row, x[index].detach())
        torch.testing.assert_close(trace[index], jacobian.trace(), rtol=0, atol=1e-12)
        torch.testing.assert_close(rows[:, index], jacobian, rtol=0, atol=1e-12)
    later = velocity(t + 0.5, x, context) - velocity(t, x, context)
    assert later.abs().flatten(1).amax(1).min() > 1e-4, "the velocity depends on the time"


def test_the_noise_is_drawn_once_a_solve_and_the_estimate_is_unbiased() -> None:
    flow, x = ContinuousFlow(LinearVelocity(), "rk4", 50, trace="hutchinson"), points()
    with record_solves(generator()):
        log_det, again = flow(x)[1], flow(x)[1]
    given = generator()
    for found in (log_det, again):
        drawn = draw_noise(x, given)
        torch.testing.assert_close(found, torch.einsum("bi,ij,bj->b", drawn, MATRIX, drawn), rtol=0, atol=1e-6)
    assert not torch.allclose(log_det, again)
    drawn = draw_noise(torch.empty(50_000, 3), generator())
    torch.testing.assert_close(drawn.mean(0), torch.zeros(3), rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.T.cov(), torch.eye(3), rtol=0, atol=0.03)


def test_held_noise_rewinds_and_follows_the_generator() -> None:
    flow, x = mlp_flow(trace="hutchinson", solver="rk4", num_steps=2), points()

    def log_dets(seed: int) -> list[Tensor]:
        with held_noise(x.device, torch.Generator().manual_seed(seed)) as rewind:
            found = [flow(x)[1], flow(x)[1]]
            rewind()
            return [*found, flow(x)[1]]

    first, second, third = log_dets(0)
    assert torch.equal(first, third)
    assert not torch.equal(first, second)
    assert torch.equal(log_dets(0)[0], first)
    assert not torch.equal(log_dets(1)[0], first)


def test_the_trace_is_exact_as_far_as_it_is_cheap() -> None:
    def is_exact(num_features: int, training: bool, **arguments: Any) -> bool:
        return not mlp_flow(num_features, **arguments).train(training).estimates(num_features)

    small = EXACT_DIMS_IN_TRAINING
    assert is_exact(small, training=True)
    assert not is_exact(small + 1, training=True)
    assert is_exact(small + 1, training=True, trace="exact")
    assert is_exact(EXACT_DIMS, training=False)
    assert not is_exact(EXACT_DIMS + 1, training=False)
    assert not is_exact(3, training=False, trace="hutchinson")
    with pytest.raises(ValueError, match="trace is exact in 65 dimensions"):
        mlp_flow(65, trace="exact")(points(2, 65))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_trace_needs_no_gradients_enabled(mode: Any) -> None:
    flow = mlp_flow(features=2)
    expected = flow(points(), points(4, 2, seed=2))
    with mode():
        found = flow(points(), points(4, 2, seed=2))
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other.detach(), rtol=0, atol=1e-12)
        assert not value.requires_grad


def test_the_velocity_is_wide_under_autocast_in_either_pass() -> None:
    dtypes = set()

    def function(t: Tensor, x: Tensor) -> Tensor:
        y = x @ MATRIX.float()
        dtypes.add(y.dtype)
        return y

    with torch.autocast("cpu", torch.bfloat16):
        z, log_det = ContinuousFlow(GivenVelocity(function).float(), "rk4", 2)(points().float())
        z.sum().backward()
    assert z.dtype == log_det.dtype == torch.float32
    assert dtypes == {torch.float32}


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_a_linear_velocity_has_the_norm_of_its_matrix(trace: Any) -> None:
    # The integral of (3 t^2)^2 is 9/5.
    x = points()
    flow = ContinuousFlow(LinearVelocity(), "rk4", 50, trace=trace, jacobian_weight=0.7)
    with record_solves(generator()) as record:
        flow(x)
    noise = draw_noise(x, generator())
    norms = MATRIX.square().sum().expand(4) if trace == "exact" else (noise @ MATRIX).square().sum(1)
    torch.testing.assert_close(record.penalty, 0.7 * 1.8 * norms / 3, rtol=0, atol=1e-5)


def test_penalties_change_nothing_and_are_computed_only_with_gradients() -> None:
    x, flow = points(), mlp_flow(kinetic_weight=3.0, jacobian_weight=2.0)
    with record_solves() as record:
        found = flow(x)
    assert all(map(torch.equal, found, mlp_flow()(x)))
    assert isinstance(record.penalty, Tensor)
    assert record.penalty.min() > 0
    with torch.no_grad(), record_solves() as record:
        flow(x)
    assert record.penalty == 0.0


def _nan_from_a_half(t: Tensor, x: Tensor) -> Tensor:
    return torch.where(t < 0.5, torch.sin(x), math.nan)


LARGE = torch.full((2, 3), 1e308, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "x", "arguments", "message"),
    [
        (_nan_from_a_half, points(), {"solver": "rk4", "num_steps": 10}, r"t = 0\.5: the velocity or its divergence"),
        (_nan_from_a_half, points(), {}, r"t = 0\.\d+: the velocity or its divergence is not finite"),
        (lambda t, x: x.abs().sqrt(), torch.zeros_like(LARGE), {}, "t = 0: the velocity or its divergence"),
        # dx/dt = x^2 from 2 reaches infinity at t = 1/2.
        (lambda t, x: x.square(), torch.full_like(LARGE, 2.0), {}, r"t = 0\.\d+: "),
        (lambda t, x: 1e308 + 0 * x, LARGE, {"solver": "euler", "num_steps": 1}, "t = 1: the state is not finite"),
        # A jump in time that no step can cross.
        (lambda t, x: 0 * x + 1e30 * (t > 0.3), points(), {"max_num_steps": 10_000}, "t = 0.3: the step size"),
        (lambda t, x: torch.sin(200 * x), points(), {"max_num_steps": 30}, "more than 30 steps; raise atol"),
        (lambda t, x: x, LARGE * 10, {}, "given a point that is not finite"),
    ],
)
def test_a_failed_solve_ends_in_one_line_with_its_time(
    function: Any, x: Tensor, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SolverError, match=message) as caught:
        ContinuousFlow(GivenVelocity(function), **arguments)(x)
    assert "\n" not in str(caught.value)
    assert "lower the learning rate" in str(caught.value)


def test_a_failure_in_evaluation_and_of_the_point_alone_is_named_too() -> None:
    flow = ContinuousFlow(GivenVelocity(lambda t, x: torch.sin(200 * x)), eval_max_num_steps=20).eval()
    with pytest.raises(SolverError, match=r"eval_atol 1e-07 .* more than 20 steps"):
        flow(points())
    flow = ContinuousFlow(GivenVelocity(lambda t, x: math.nan + 0 * x))
    with pytest.raises(SolverError, match="at t = 0: the velocity is not finite"):
        flow.encode(points())


def test_tolerances_below_the_resolution_of_the_dtype_are_raised() -> None:
    flow = mlp_flow(eval_atol=1e-12, eval_rtol=1e-12).float().eval()
    with record_solves() as record:
        found = flow(points().float())
    for value, expected in zip(found, mlp_flow(**TIGHT)(points()), strict=True):
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=2e-5)
    assert record.num_evaluations[0] < 200


def test_two_parts_of_the_way_are_the_whole() -> None:
    for flow in (mlp_flow(**TIGHT).eval(), ContinuousFlow(LinearVelocity(), eval_solver="rk4", num_steps=37).eval()):
        x = points()
        middle, first = flow.between(x, 0.0, 0.3)
        z, second = flow.between(middle, 0.3, 1.0)
        expected, log_det = flow(x)
        torch.testing.assert_close(z, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(first + second, log_det, rtol=0, atol=1e-5)
