"""Roots of many increasing scalar functions at once."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["solve_monotone"]


@torch.no_grad()
def solve_monotone(
    function: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor, max_iterations: int = 200
) -> Tensor:
    r"""Return the root of each increasing function, to a few units in the last place.

    Newton steps, :math:`x \leftarrow x - f(x) / f'(x)`, from the middle of the bracket. Where a step would leave the
    bracket, or is longer than half the step before it, the bracket is halved instead, so nothing diverges. A root is
    accepted when a step moves it by a few units in the last place, or when a Newton step is so short that the next one
    would; where the derivative vanishes at the root, that leaves a third of the digits uncertain. Roots are independent
    of the rest of the batch. No gradient passes: the caller differentiates the equation of the root.

    Args:
        function: From x to :math:`(f(x), f'(x))`, element by element, :math:`f` increasing.
        lower: Lower ends of the brackets, where no :math:`f` is positive.
        upper: Upper ends, where no :math:`f` is negative.
        max_iterations: Most iterations; halving alone needs about 80 from a bracket a million wide.
    Shape:
        lower, upper, x, f(x), f'(x) and the roots: all the same.
    Raises:
        FloatingPointError: If a bracket holds no root, a value is NaN, or there are too many iterations.
    References:
        Press et al. 2007, Numerical Recipes, third edition, section 9.4 (``rtsafe``).
    """
    _require_brackets(function, lower, upper)
    x, step = (lower + upper) / 2, upper - lower
    done = torch.zeros_like(x, dtype=torch.bool)
    for _ in range(max_iterations):
        value, derivative = function(x)
        lower, upper = torch.where(value <= 0, x, lower), torch.where(value >= 0, x, upper)
        newton = -value / derivative
        # A derivative of zero gives infinity or NaN here, for which no comparison is true.
        is_newton = (x + newton >= lower) & (x + newton <= upper) & (2 * newton.abs() <= step.abs())
        step = torch.where(is_newton, newton, (lower + upper) / 2 - x)
        x = torch.where(done, x, x + step)
        # NaN moves neither end of its bracket, and must not count as a short step.
        done = done | (value.isfinite() & (step.abs() <= _tolerance(is_newton, x)))
        if done.all():
            return x
    residual = function(x)[0].abs()[~done]
    raise FloatingPointError(
        f"{residual.numel()} of {x.numel()} roots not found in {max_iterations} iterations, largest residual "
        f"{residual.max().item():.3g}; look for NaN in the inputs, and whether the function increases"
    )


def _tolerance(is_newton: Tensor, x: Tensor) -> Tensor:
    # Newton steps double the correct digits; to ask for more than two thirds of them would often hit the rounding of f.
    eps = torch.finfo(x.dtype).eps
    return torch.where(is_newton, eps ** (2 / 3), 4 * eps) * x.abs()


def _require_brackets(function: Callable[[Tensor], tuple[Tensor, Tensor]], lower: Tensor, upper: Tensor) -> None:
    below, above = function(lower)[0], function(upper)[0]
    bad = ~((below <= 0) & (above >= 0))
    if bad.any():
        residual = torch.maximum(below, -above)[bad].max().item()
        raise FloatingPointError(
            f"{int(bad.sum())} of {bad.numel()} brackets hold no root, largest residual {residual:.3g}; look for "
            "NaN or infinity in the inputs, and whether the function increases"
        )
