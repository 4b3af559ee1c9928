from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from glow_app.bijections.roots import solve_monotone

Pair = Callable[[Tensor], tuple[Tensor, Tensor]]

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: 3 * x,
    "cubic": lambda x: x**3 + x,
    "exponential": torch.expm1,
    "Newton alone diverges": lambda x: torch.atan(x) + 1e-3 * x,
    "a step": lambda x: x + 1e4 * torch.tanh(1e3 * (x - 0.5)),
    "a plateau": lambda x: x - 0.999 * torch.tanh(x),
}


def minus(function: Callable[[Tensor], Tensor], target: Tensor) -> Pair:
    """Return f(x) - target with its derivative."""

    def pair(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y = function(x)
            return y.detach() - target, torch.autograd.grad(y.sum(), x)[0]

    return pair


class Recorder:
    def __init__(self, function: Pair) -> None:
        self.function = function
        self.seen: list[Tensor] = []

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(x)
        return self.function(x)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("ends", [(-9.0, 80.0), (-80.0, 9.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roots_are_exact_up_to_the_rounding_of_the_function(
    name: str, ends: tuple[float, float], dtype: torch.dtype
) -> None:
    roots = torch.cat([torch.linspace(-8, 8, 200, dtype=dtype), torch.tensor([0.0, 1e-6, 0.5, 9.0, -9.0], dtype=dtype)])
    target = FUNCTIONS[name](roots)
    function = minus(FUNCTIONS[name], target)
    lower, upper = (torch.full_like(roots, end) for end in ends)
    found = solve_monotone(function, lower, upper)
    assert found.dtype == dtype
    rounding = 8 * torch.finfo(dtype).eps * (roots.abs() + (1 + target.abs()) / function(roots)[1])
    assert ((found - roots).abs() <= rounding).all()


def test_a_bracket_may_be_huge() -> None:
    target = torch.linspace(-1.5, 1.5, 50, dtype=torch.float64)
    end = torch.full_like(target, 1e9)
    found = solve_monotone(minus(torch.atan, target), -end / 3, end)
    torch.testing.assert_close(found, target.tan(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["cubic", "a plateau"])
def test_smooth_functions_take_few_steps_even_where_rounding_shows(name: str) -> None:
    target = FUNCTIONS[name](torch.linspace(-1, 1, 1000, dtype=torch.float64))
    points = Recorder(minus(FUNCTIONS[name], target))
    solve_monotone(points, target - 2, target + 2)
    assert len(points.seen) <= 20


def test_no_step_leaves_the_bracket() -> None:
    end = torch.ones(1, dtype=torch.float64)

    def kinked(x: Tensor) -> tuple[Tensor, Tensor]:
        # From 0 Newton steps to 0.9, and from there, half as far, to 1.3.
        flat = x > 0.8
        return torch.where(flat, 0.1 * (x - 0.9) - 0.04, x - 0.9), torch.where(flat, 0.1, 1.0)

    def steep_end(x: Tensor) -> tuple[Tensor, Tensor]:
        value, derivative = kinked(x)
        return torch.where(x > 0.95, 10 * (x - 0.97), value), torch.where(x > 0.95, 10.0, derivative)

    points = Recorder(steep_end)
    assert solve_monotone(points, -end, end).item() == pytest.approx(0.97, abs=1e-12)
    assert torch.stack(points.seen).abs().max() <= 1


def test_the_derivative_may_vanish_at_the_root() -> None:
    end = torch.tensor([7.0], dtype=torch.float64)
    found = solve_monotone(lambda x: ((x - 0.3) ** 3, 3 * (x - 0.3).square()), -end, end + 1)
    # Newton's steps are then no more than a third too short, and do not double their digits.
    assert found.item() == pytest.approx(0.3, abs=1e-11)


def test_a_root_does_not_depend_on_the_others() -> None:
    target = torch.linspace(-3, 3, 9, dtype=torch.float64)
    found = solve_monotone(minus(FUNCTIONS["a step"], target), target - 1e5, target + 1e4)
    for index in range(len(target)):
        one = target[index : index + 1]
        alone = solve_monotone(minus(FUNCTIONS["a step"], one), one - 1e5, one + 1e4)
        assert torch.equal(alone, found[index : index + 1])


def test_nothing_is_changed_in_place_and_no_gradient_passes() -> None:
    lower, upper = torch.tensor([-1.0, -2.0], requires_grad=True), torch.tensor([1.0, 3.0])
    found = solve_monotone(minus(FUNCTIONS["cubic"], torch.tensor([0.5, 9.0])), lower, upper)
    assert torch.equal(lower, torch.tensor([-1.0, -2.0]))
    assert torch.equal(upper, torch.tensor([1.0, 3.0]))
    assert not found.requires_grad


def test_no_functions_have_no_roots() -> None:
    nothing = torch.zeros(0)
    assert solve_monotone(lambda x: (x, torch.ones_like(x)), nothing, nothing).shape == (0,)


@pytest.mark.parametrize(
    ("function", "residual"),
    [
        pytest.param(lambda x: (x - 5, torch.ones_like(x)), "4", id="the root lies above"),
        pytest.param(lambda x: (x + 3, torch.ones_like(x)), "2", id="the root lies below"),
        pytest.param(lambda x: (x * float("nan"), torch.ones_like(x)), "nan", id="NaN"),
        pytest.param(lambda x: (-x, -torch.ones_like(x)), "1", id="decreasing"),
    ],
)
def test_a_bracket_without_a_root_is_an_error(function: Pair, residual: str) -> None:
    end = torch.ones(3)
    with pytest.raises(
        FloatingPointError, match=f"3 of 3 brackets hold no root, largest residual {residual};"
    ) as error:
        solve_monotone(function, -end, end)
    assert "\n" not in str(error.value)


def test_a_function_that_breaks_between_the_ends_is_an_error() -> None:
    end = torch.ones(2, dtype=torch.float64)

    def broken(x: Tensor) -> tuple[Tensor, Tensor]:
        inside = (x.abs() < 1) & torch.tensor([True, False])
        return torch.where(inside, torch.nan, x), torch.ones_like(x)

    with pytest.raises(FloatingPointError, match="1 of 2 roots not found in 200 iterations, largest residual nan;"):
        solve_monotone(broken, -end, end)


def test_too_few_iterations_are_an_error() -> None:
    end = torch.full((2,), 100.0, dtype=torch.float64)
    function = minus(FUNCTIONS["cubic"], torch.tensor([0.0, 300.0], dtype=torch.float64))
    with pytest.raises(
        FloatingPointError, match=r"1 of 2 roots not found in 3 iterations, largest residual \d"
    ) as error:
        solve_monotone(function, -end, end, max_iterations=3)
    assert "\n" not in str(error.value)
