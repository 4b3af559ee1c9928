import math
from typing import Any

import pytest
import torch
from registry import perturb
from torch import Tensor, nn

from glow_app.bijections import ContinuousFlow, SolverError, held_noise, loose_solves, record_solves, without_log_det
from glow_app.bijections.continuous.flow import EXACT_DIMS_IN_TRAINING
from glow_app.bijections.continuous.solver import Method
from glow_app.bijections.continuous.trace import Dynamics, divergence, draw_noise
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import ConvVelocity, MLPVelocity, Velocity

TIGHT: Any = {"atol": 1e-10, "rtol": 1e-10, "eval_atol": 1e-10, "eval_rtol": 1e-10}
ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
MATRIX = torch.tensor([[0.3, -0.8, 0.1], [0.5, -0.2, 0.4], [0.0, 0.7, 0.6]], dtype=torch.float64)


class LinearVelocity(Velocity):
    r""":math:`3 t^2 A x`: from 0 to 1 it applies the exponential of :math:`A`, whatever happens in between."""

    def __init__(self, matrix: Tensor = MATRIX) -> None:
        super().__init__()
        self.matrix = nn.Parameter(matrix.clone())

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        return 3 * t.square() * x @ self.matrix.T


class ConstantVelocity(Velocity):
    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.values + 0 * x


class ScaledVelocity(Velocity):
    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        assert context is not None
        return torch.sin(x) * context


class FailingVelocity(Velocity):
    """Calls a function of the time and the point."""

    def __init__(self, function: Any) -> None:
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


# What it computes


@pytest.mark.parametrize("arguments", [TIGHT, {"solver": "rk4", "num_steps": 200}])
def test_a_linear_velocity_has_the_matrix_exponential(arguments: Any) -> None:
    flow, x = ContinuousFlow(LinearVelocity(), **arguments), points()
    z, log_det = flow(x)
    torch.testing.assert_close(z, x @ torch.linalg.matrix_exp(MATRIX).T, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_det, MATRIX.trace().expand(4), rtol=0, atol=1e-8)
    back, inverse_log_det = flow.inverse(x)
    torch.testing.assert_close(back, x @ torch.linalg.matrix_exp(-MATRIX).T, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_log_det, -MATRIX.trace().expand(4), rtol=0, atol=1e-8)


@pytest.mark.parametrize("solver", ["dopri5", *ORDERS])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starts_as_the_identity_to_the_last_bit(solver: Any, dtype: torch.dtype) -> None:
    for velocity, shape in ((MLPVelocity(3), (3,)), (ConvVelocity(2), (2, 2, 1))):
        x = points(4, *shape).to(dtype)
        for direction in (flow := ContinuousFlow(velocity, solver).to(dtype)), flow.inverse:
            y, log_det = direction(x)
            assert torch.equal(y, x)
            assert torch.equal(log_det, torch.zeros(4, dtype=dtype))


@pytest.mark.parametrize("solver", ORDERS)
def test_the_error_falls_with_the_order_of_the_solver(solver: Any) -> None:
    x, exact = points(), mlp_flow(**{**TIGHT, "atol": 1e-12, "rtol": 1e-12})
    expected = torch.cat([value.flatten() for value in exact(x)])

    def error(num_steps: int) -> float:
        found = mlp_flow(solver=solver, num_steps=num_steps)(x)
        return (torch.cat([value.flatten() for value in found]) - expected).norm().item()

    coarse, fine = error(8), error(16)
    assert fine > 1e-12
    assert math.log2(coarse / fine) == pytest.approx(ORDERS[solver], abs=0.4)


def test_evaluation_is_tighter_than_training() -> None:
    x, expected = points(), mlp_flow(**TIGHT)(points())
    flow = mlp_flow()
    errors, evaluations = [], []
    for mode in (True, False):
        with record_solves() as record:
            found = flow.train(mode)(x)
        errors.append(max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True)))
        evaluations += record.num_evaluations
    assert errors[1] < 0.1 * errors[0] < 1e-4
    assert evaluations[1] > evaluations[0]


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_velocity_is_asked_only_between_zero_and_one(adjoint: bool) -> None:
    for direction in ("forward", "inverse"):
        velocity = FailingVelocity(lambda t, x: torch.sin(3 * x + t))
        z, log_det = getattr(ContinuousFlow(velocity, adjoint=adjoint), direction)(points())
        (z.sum() + log_det.sum()).backward()
        assert min(velocity.times) == pytest.approx(0.0, abs=1e-9)
        assert max(velocity.times) == pytest.approx(1.0, abs=1e-9)
        assert 0.0 <= min(velocity.times) <= max(velocity.times) <= 1.0


def test_a_density_in_the_plane_integrates_to_one() -> None:
    flow, side, num = mlp_flow(2, size=1.2, eval_atol=1e-6, eval_rtol=1e-6).eval(), 20.0, 150
    ticks = side * (2 * (torch.arange(num, dtype=torch.float64) + 0.5) / num - 1)
    with torch.no_grad():
        z, log_det = flow(torch.cartesian_prod(ticks, ticks))
        density = (standard_normal_log_density([z]) + log_det).exp()
        assert log_det[density > 1e-3].std() > 0.05
    assert (density.sum() * (2 * side / num) ** 2).item() == pytest.approx(1.0, abs=1e-3)


# The trace


@pytest.mark.parametrize(
    ("velocity", "shape"), [(MLPVelocity(4, 6, context_features=2), (4,)), (ConvVelocity(2, 4, 2), (2, 3, 2))]
)
def test_the_exact_trace_is_that_of_the_jacobian(velocity: Velocity, shape: tuple[int, ...]) -> None:
    velocity, x, context = perturb(velocity.double()), points(3, *shape).requires_grad_(), points(3, 2)
    t, num_dims = torch.tensor(0.4), math.prod(shape)
    trace, rows = divergence(velocity(t, x, context), x, None, create_graph=True)
    assert rows.shape == (num_dims, 3, num_dims)
    for index in range(3):

        def row(values: Tensor, index: int = index) -> Tensor:
            return velocity(t, values[None], context[index : index + 1])[0]

        jacobian = torch.autograd.functional.jacobian(row, x[index].detach()).reshape(num_dims, num_dims)
        torch.testing.assert_close(trace[index], jacobian.trace(), rtol=0, atol=1e-12)
        torch.testing.assert_close(rows[:, index], jacobian, rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_the_estimates_mean_is_the_exact_log_det(noise: Any) -> None:
    x = points(1, 3).expand(20_000, 3)
    arguments: Any = {"solver": "rk4", "num_steps": 4, "noise": noise}
    exact = mlp_flow(trace="exact", **arguments)(x[:1])[1]
    with torch.no_grad(), record_solves(generator()):
        estimates = mlp_flow(trace="hutchinson", **arguments)(x)[1]
    standard_error = estimates.std() / math.sqrt(len(x))
    assert 1e-5 < standard_error < 0.02
    assert (estimates.mean() - exact).abs() < 5 * standard_error
    assert exact.abs() > 10 * standard_error


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_the_noise_is_drawn_once_a_solve_from_the_generator(noise: Any) -> None:
    flow, x = ContinuousFlow(LinearVelocity(), trace="hutchinson", noise=noise, **TIGHT), points()
    with record_solves(generator()):
        log_det = flow(x)[1]
        again = flow(x)[1]
    given = generator()
    for found in (log_det, again):
        drawn = draw_noise(noise, x, given)
        torch.testing.assert_close(found, torch.einsum("bi,ij,bj->b", drawn, MATRIX, drawn), rtol=0, atol=1e-8)
    assert not torch.allclose(log_det, again)
    with record_solves(generator()):
        assert torch.equal(flow(x)[1], log_det)


def test_without_a_generator_torchs_own_is_used() -> None:
    flow, x = ContinuousFlow(LinearVelocity(), "rk4", 1, trace="hutchinson"), points()
    torch.manual_seed(5)
    first, second = flow(x)[1], flow(x)[1]
    torch.manual_seed(5)
    assert torch.equal(flow(x)[1], first)
    assert not torch.equal(first, second)


def test_the_noises_have_zero_mean_and_unit_covariance() -> None:
    for kind in ("rademacher", "gaussian"):
        drawn = draw_noise(kind, torch.empty(50_000, 3), generator())
        torch.testing.assert_close(drawn.mean(0), torch.zeros(3), rtol=0, atol=0.03)
        torch.testing.assert_close(drawn.T.cov(), torch.eye(3), rtol=0, atol=0.03)
        assert torch.equal(drawn.abs(), torch.ones_like(drawn)) == (kind == "rademacher")


def test_the_trace_is_exact_as_far_as_it_is_cheap() -> None:
    def is_exact(num_features: int, training: bool, **arguments: Any) -> bool:
        flow = mlp_flow(num_features, solver="euler", num_steps=1, **arguments).train(training)
        x = points(2, num_features)
        return torch.equal(flow(x)[1], flow(x)[1])

    small = EXACT_DIMS_IN_TRAINING
    assert is_exact(small, training=True)
    assert not is_exact(small + 1, training=True)
    assert is_exact(small + 1, training=True, trace="exact")
    assert is_exact(64, training=False)
    assert not is_exact(65, training=False)
    assert not is_exact(3, training=False, max_exact_dims=2)
    assert not is_exact(3, training=True, max_exact_dims=2)
    assert not is_exact(3, training=False, trace="hutchinson")


def test_the_jacobian_does_not_see_what_the_context_was_made_of() -> None:
    velocity, x, t = mlp_flow(3, 2).velocity, points().requires_grad_(), torch.tensor(0.4)

    def trace(context: Tensor) -> Tensor:
        method = Method("euler", 1, 1e-5, 1e-5, adjoint=False)
        dynamics = Dynamics(lambda t, x: velocity(t, x, context), None, None, (0.0, 1.0), method)
        return dynamics(t, (x, x.new_zeros(4)))[1]

    torch.testing.assert_close(trace(2 * x[:, :2]), trace(2 * x[:, :2].detach()), rtol=0, atol=1e-12)


# Gradients


@pytest.mark.parametrize("solver", ["dopri5", "rk4"])
@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_adjoints_gradients_equal_the_direct_ones(solver: Any, trace: Any, direction: str) -> None:
    def gradients(adjoint: bool) -> list[Tensor]:
        weights: Any = {"kinetic_weight": 0.3, "jacobian_weight": 0.2}
        flow = mlp_flow(3, 2, solver=solver, trace=trace, num_steps=40, adjoint=adjoint, **weights, **TIGHT)
        x, embedding = points().requires_grad_(), points(4, 2).requires_grad_()
        # Neither the input nor the context is a leaf.
        with record_solves(generator()) as record:
            z, log_det = getattr(flow, direction)(x.sinh(), embedding.square())
        assert isinstance(record.penalty, Tensor)
        loss = (z * points(seed=7)).sum() + log_det.square().sum() + record.penalty.sum()
        return list(torch.autograd.grad(loss, [x, embedding, *flow.parameters()]))

    for direct, adjoint in zip(gradients(False), gradients(True), strict=True):
        assert direct.abs().max() > 1e-6
        torch.testing.assert_close(adjoint, direct, rtol=1e-6, atol=1e-7)


def test_a_graph_runs_backward_again_and_again() -> None:
    flow = mlp_flow(adjoint=True, max_num_steps=8)
    with record_solves() as record:
        z, _ = flow(points())
    assert record.num_evaluations[0] > 6 * 2, "more than two steps, to have something to count"
    weight = next(flow.parameters())
    first, *others = [torch.autograd.grad(z.sum(), weight, retain_graph=True)[0] for _ in range(5)]
    assert all(torch.equal(other, first) for other in others)


@pytest.mark.parametrize("adjoint", [False, True])
def test_it_learns_a_density(adjoint: bool) -> None:
    flow, x = ContinuousFlow(MLPVelocity(2, 8).double(), "rk4", 4, adjoint=adjoint), 2 * points(64, 2) + 1
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.05)
    losses = []
    for _ in range(15):
        z, log_det = flow(x)
        losses.append(-(standard_normal_log_density([z]) + log_det).mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("adjoint", [False, True])
def test_the_trace_needs_no_gradients_enabled(mode: Any, adjoint: bool) -> None:
    flow = ContinuousFlow(ScaledVelocity(), adjoint=adjoint)
    expected = flow(points(), points(seed=2))
    with mode():
        found = flow(points(), points(seed=2))
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other.detach(), rtol=0, atol=1e-12)
        assert not value.requires_grad


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_velocity_is_wide_under_autocast_in_either_pass(adjoint: bool) -> None:
    dtypes = set()

    def function(t: Tensor, x: Tensor) -> Tensor:
        y = x @ MATRIX.float()
        dtypes.add(y.dtype)
        return y

    with torch.autocast("cpu", torch.bfloat16):
        assert (points().float() @ MATRIX.float()).dtype == torch.bfloat16
        z, log_det = ContinuousFlow(FailingVelocity(function).float(), "rk4", 2, adjoint=adjoint)(points().float())
        z.sum().backward()
    assert z.dtype == log_det.dtype == torch.float32
    assert dtypes == {torch.float32}


# The record


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_the_record_counts_the_evaluations_of_each_solve(solver: Any, evaluations: int) -> None:
    five, seven = mlp_flow(solver=solver, num_steps=5), mlp_flow(solver=solver, num_steps=7, adjoint=True)
    with record_solves() as record:
        z, _ = seven(five(points())[0])
        z.sum().backward()
        five.inverse(z)
    assert record.num_evaluations == [5 * evaluations, 7 * evaluations, 5 * evaluations]
    assert record.penalty == 0.0


def test_an_adaptive_solve_counts_every_call_of_the_velocity() -> None:
    velocity = FailingVelocity(lambda t, x: torch.sin(x))
    with record_solves() as record:
        ContinuousFlow(velocity)(points())
    assert record.num_evaluations == [len(velocity.times)]


def test_records_nest_and_close() -> None:
    flow, x = mlp_flow(solver="euler", num_steps=1), points()
    with record_solves() as outer:
        flow(x)
        with record_solves() as inner:
            flow(x)
            flow(x)
        flow(x)
    flow(x)
    assert outer.num_evaluations == [1, 1]
    assert inner.num_evaluations == [1, 1]


def test_a_constant_velocity_has_its_kinetic_energy() -> None:
    flow = ContinuousFlow(ConstantVelocity(2.0, -1.0, 0.5), kinetic_weight=0.3, jacobian_weight=5.0)
    with record_solves() as record:
        z, _ = flow(points())
        torch.testing.assert_close(record.penalty, torch.full((4,), 0.3 * 5.25 / 3, dtype=torch.float64))
        flow.inverse(z)
    # The way back is as long.
    torch.testing.assert_close(record.penalty, torch.full((4,), 2 * 0.3 * 5.25 / 3, dtype=torch.float64))
    torch.testing.assert_close(z, points() + torch.tensor([2.0, -1.0, 0.5]))


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_a_linear_velocity_has_the_norm_of_its_matrix(trace: Any) -> None:
    # The integral of (3 t^2)^2 is 9/5.
    x = points()
    flow = ContinuousFlow(LinearVelocity(), "rk4", 50, trace=trace, jacobian_weight=0.7)
    with record_solves(generator()) as record:
        flow(x)
    noise = draw_noise("rademacher", x, generator())
    norms = MATRIX.square().sum().expand(4) if trace == "exact" else (noise @ MATRIX).square().sum(1)
    torch.testing.assert_close(record.penalty, 0.7 * 1.8 * norms / 3, rtol=0, atol=1e-5)


def test_penalties_cost_nothing_and_change_nothing() -> None:
    weights: Any = {"kinetic_weight": 3.0, "jacobian_weight": 2.0}
    x, plain = points(), mlp_flow()(points())
    flow = mlp_flow(**weights)
    with record_solves() as record:
        found = flow(x)
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
    assert isinstance(record.penalty, Tensor)
    assert record.penalty.shape == (4,)
    assert record.penalty.min() > 0
    with torch.no_grad(), record_solves() as record:
        flow(x)
    assert record.penalty == 0.0


# Errors


def test_the_input_is_refused_by_the_velocity() -> None:
    with pytest.raises(ValueError, match=r"MLPVelocity expects shape \(B, 3\), got \(4, 2\)"):
        mlp_flow()(points(4, 2))


def test_an_exact_trace_in_many_dimensions_is_refused_with_the_way_out() -> None:
    flow = mlp_flow(65, trace="exact")
    with pytest.raises(
        ValueError, match=r"exact trace in 65 dimensions, above max_exact_dims 64, .*hutchinson"
    ) as caught:
        flow(points(2, 65))
    assert "65 backward passes" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "dopri8"}, "solver is 'dopri8'; expected one of dopri5, euler, midpoint, rk4"),
        ({"trace": "approximate"}, "trace is 'approximate'; expected one of auto, exact, hutchinson"),
        ({"noise": "uniform"}, "noise is 'uniform'; expected one of rademacher, gaussian"),
        ({"num_steps": 0}, "num_steps is 0; expected at least 1"),
        ({"max_num_steps": 0}, "max_num_steps is 0; expected"),
        ({"eval_max_num_steps": 0}, "eval_max_num_steps is 0; expected"),
        ({"max_exact_dims": -1}, "max_exact_dims is -1; expected"),
        ({"atol": 0.0}, "atol is 0.0; expected a finite number above 0"),
        ({"rtol": math.nan}, "rtol is nan; expected"),
        ({"eval_atol": -1e-5}, "eval_atol is -1e-05; expected"),
        ({"eval_rtol": math.inf}, "eval_rtol is inf; expected"),
        ({"kinetic_weight": -1.0}, "kinetic_weight is -1.0; expected"),
        ({"jacobian_weight": math.nan}, "jacobian_weight is nan; expected"),
    ],
)
def test_bad_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match="^" + message):
        ContinuousFlow(MLPVelocity(3), **arguments)


def failure(velocity: Velocity, x: Tensor | None = None, **arguments: Any) -> str:
    flow = ContinuousFlow(velocity, **arguments)
    with pytest.raises(SolverError) as caught:
        flow(points() if x is None else x)
    message = str(caught.value)
    assert "\n" not in message
    assert "lower the learning rate, or regularise by kinetic_weight and jacobian_weight" in message
    return message


def nan_from_a_half(t: Tensor, x: Tensor) -> Tensor:
    return torch.where(t < 0.5, torch.sin(x), math.nan)


def test_a_velocity_that_is_not_finite_names_the_time() -> None:
    message = failure(FailingVelocity(nan_from_a_half), solver="rk4", num_steps=10)
    assert message.startswith("rk4 with 10 steps failed at t = 0.5: the velocity or its divergence is not finite")
    assert "raise num_steps" in message
    message = failure(FailingVelocity(nan_from_a_half))
    assert message.startswith("dopri5 with atol 1e-05 and rtol 1e-05 failed at t = 0.")
    assert "the velocity or its divergence is not finite; raise atol, rtol or max_num_steps, lower" in message


def test_an_infinite_divergence_of_a_finite_velocity_is_an_error() -> None:
    x = torch.zeros(2, 3, dtype=torch.float64)
    assert "t = 0: the velocity or its divergence" in failure(FailingVelocity(lambda t, x: x.abs().sqrt()), x)


def test_a_trajectory_that_leaves_in_finite_time_is_an_error() -> None:
    # dx/dt = x^2 from 2 reaches infinity at t = 1/2.
    x = torch.full((2, 3), 2.0, dtype=torch.float64)
    for arguments in ({}, {"solver": "rk4", "num_steps": 60}):
        message = failure(FailingVelocity(lambda t, x: x.square()), x, **arguments)
        assert 0.45 < float(message.split("t = ")[1].split(":")[0]) < 0.95, message


def test_a_state_that_overflows_in_the_last_step_is_an_error() -> None:
    x = torch.full((2, 3), 1e308, dtype=torch.float64)
    message = failure(FailingVelocity(lambda t, x: 1e308 + 0 * x), x, solver="euler", num_steps=1)
    assert "t = 1: the state is not finite" in message


def test_an_underflow_of_the_steps_is_an_error() -> None:
    # A jump in time that no step can cross.
    message = failure(FailingVelocity(lambda t, x: 0 * x + 1e30 * (t > 0.3)), max_num_steps=10_000)
    assert "t = 0.3: the step size underflowed" in message


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_stiff_velocity_ends_in_an_error(adjoint: bool) -> None:
    message = failure(FailingVelocity(lambda t, x: torch.sin(200 * x)), max_num_steps=30, adjoint=adjoint)
    assert "more than 30 steps" in message


def test_evaluation_has_a_limit_and_names_of_its_own() -> None:
    velocity = FailingVelocity(lambda t, x: torch.sin(200 * x))
    flow = ContinuousFlow(velocity, eval_max_num_steps=20, eval_atol=1e-6).eval()
    with pytest.raises(SolverError, match=r"eval_atol 1e-06 and eval_rtol 1e-07 .* more than 20 steps; raise eval_a"):
        flow(points())


def test_no_points_need_no_solve() -> None:
    for x in (torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.float64)):
        z, log_det = mlp_flow(trace="hutchinson").to(x.dtype)(x)
        assert (z.shape, log_det.shape) == ((0, 3), (0,))
        assert z.dtype == log_det.dtype == x.dtype


def test_a_failure_of_the_adjoint_in_the_backward_pass_names_its_time() -> None:
    for direction, start in (("forward", 0.0), ("inverse", 1.0)):
        velocity = FailingVelocity(lambda t, x: torch.sin(x))
        z, _ = getattr(ContinuousFlow(velocity, adjoint=True), direction)(points())
        velocity.function = lambda t, x, start=start: torch.where((t - start).abs() > 0.5, torch.sin(x), math.nan)
        with pytest.raises(SolverError, match=r"failed at t = 0\.\d+: the velocity or its divergence"):
            z.sum().backward()
        velocity.function = lambda t, x: torch.sin(400 * x)
        with pytest.raises(SolverError, match=r"failed at t = 0\.\d+: more than 40 steps"):
            _backward_with(velocity, direction)


def _backward_with(velocity: FailingVelocity, direction: str) -> None:
    stiff, velocity.function = velocity.function, lambda t, x: torch.sin(x)
    z, _ = getattr(ContinuousFlow(velocity, adjoint=True, max_num_steps=40), direction)(points())
    velocity.function = stiff
    z.sum().backward()


def test_an_assertion_of_the_velocity_stays_one() -> None:
    def refuse(t: Tensor, x: Tensor) -> Tensor:
        raise AssertionError("mine")

    with pytest.raises(AssertionError, match="mine"):
        ContinuousFlow(FailingVelocity(refuse))(points())


def test_tolerances_below_the_resolution_of_the_dtype_are_raised() -> None:
    flow = mlp_flow(eval_atol=1e-12, eval_rtol=1e-12).float().eval()
    with record_solves() as record:
        z, log_det = flow(points().float())
    expected = mlp_flow(**TIGHT)(points())
    torch.testing.assert_close(z.double(), expected[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(log_det.double(), expected[1], rtol=0, atol=2e-5)
    assert record.num_evaluations[0] < 200


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("solver", ["dopri5", "rk4"])
def test_the_point_alone_is_the_same_point(solver: Any, adjoint: bool) -> None:
    flow, x = mlp_flow(solver=solver, adjoint=adjoint, atol=1e-8, rtol=1e-8), points()
    calls = []
    for direction in (flow.forward, flow.inverse):
        with without_log_det(), record_solves() as record:
            z, log_det = direction(x)
        calls += record.num_evaluations
        torch.testing.assert_close(z, direction(x)[0], rtol=0, atol=1e-6)
        assert log_det.shape == (len(x),)
        assert log_det.isnan().all()
    assert len(calls) == 2
    with without_log_det():
        (gradient,) = torch.autograd.grad(flow(x.requires_grad_())[0].sum(), x)
    (expected,) = torch.autograd.grad(flow(x)[0].sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-5)


def test_the_point_alone_fails_in_one_line_too() -> None:
    flow = ContinuousFlow(FailingVelocity(lambda t, x: math.nan + 0 * x))
    with (
        without_log_det(),
        pytest.raises(SolverError, match=r"dopri5 with atol .* at t = 0: the velocity is not finite"),
    ):
        flow(points())


@pytest.mark.parametrize("num_steps", range(1, 41))
def test_fixed_steps_end_where_they_should(num_steps: int) -> None:
    flow = ContinuousFlow(LinearVelocity(), "rk4", num_steps)
    half = flow.between(points(), 1.0, 0.4)[0]
    assert half.shape == points().shape


def test_two_halves_of_the_way_are_the_whole() -> None:
    flow, x = mlp_flow(**TIGHT).eval(), points()
    middle, first = flow.between(x, 0.0, 0.3)
    z, second = flow.between(middle, 0.3, 1.0)
    expected, log_det = flow(x)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(first + second, log_det, rtol=0, atol=1e-7)


def test_penalties_of_two_halves_add_up() -> None:
    flow, x = mlp_flow(**TIGHT, kinetic_weight=1.0), points()
    with record_solves() as whole:
        flow(x)
    with record_solves() as halves:
        flow.between(flow.between(x, 0.0, 0.5)[0], 0.5, 1.0)
    torch.testing.assert_close(halves.penalty, whole.penalty, rtol=1e-6, atol=1e-6)


def test_a_point_that_is_not_finite_is_not_the_velocitys_fault() -> None:
    with pytest.raises(SolverError, match="given a point that is not finite: the bijections before it have diverged"):
        mlp_flow()(torch.full((2, 3), math.inf, dtype=torch.float64))


def test_held_noise_begins_again() -> None:
    flow, x = mlp_flow(trace="hutchinson"), points()
    with held_noise(x.device) as rewind:
        first = flow(x)[1]
        second = flow(x)[1]
        rewind()
        third = flow(x)[1]
    assert torch.equal(first, third)
    assert not torch.equal(first, second)
    with record_solves(generator()) as record, held_noise(x.device):
        flow(x)
    assert len(record.num_evaluations) == 1


def test_torchs_seed_decides_held_noise() -> None:
    def log_det(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with held_noise(torch.device("cpu")):
            return mlp_flow(trace="hutchinson")(points())[1]

    assert torch.equal(log_det(0), log_det(0))
    assert not torch.equal(log_det(0), log_det(1))


def test_loose_solves_cost_less_and_are_near_enough() -> None:
    flow, x = mlp_flow(size=1.5).eval(), points()
    with record_solves() as tight:
        z, _ = flow(x)
    with record_solves() as loose, loose_solves(1e-4):
        near, _ = flow(x)
    assert 2 * loose.num_evaluations[0] < tight.num_evaluations[0]
    torch.testing.assert_close(near, z, rtol=0, atol=1e-2)
    assert not torch.equal(near, z)
    assert torch.equal(flow(x)[0], z)
