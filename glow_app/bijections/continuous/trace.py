"""The divergence of a velocity, and the differential equation that carries it along."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from glow_app.bijections.continuous.solver import Method
from glow_app.nn.precision import full_precision
from glow_app.seeding import draw_rows


def draw_noise(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw plus or minus one, of the shape, dtype and device of ``x``: the noise whose trace estimates vary least."""
    return 2 * draw_rows(partial(torch.randint, 0, 2), x.shape, generator, x.device, dtype=x.dtype).to(x.device) - 1


def divergence(velocity: Tensor, x: Tensor, noise: Tensor | None, create_graph: bool) -> tuple[Tensor, Tensor]:
    r"""Return the trace of the Jacobian :math:`J = \partial v / \partial x`, or an unbiased estimate of it.

    .. math:: \operatorname{tr} J = \sum_i e_i^\top J e_i = \mathbb E\,[\epsilon^\top J \epsilon]

    The exact sum takes one backward pass batched over :math:`D` unit vectors: :math:`D` times the time and memory.

    Args:
        velocity: The velocity at ``x``, with its graph, which is freed unless ``create_graph``.
        x: The point, requiring gradients.
        noise: :math:`\epsilon`, as ``x``; None for the exact trace.
        create_graph: Whether the results will be differentiated.
    Shape:
        velocity, x, noise: (B, ...), with D values per row; trace: (B,); products: (D, B, D) or (1, B, D), the rows
        :math:`e_i^\top J` or :math:`\epsilon^\top J`, whose squares sum to the squared Frobenius norm of :math:`J` or
        to its estimate.
    References:
        FFJORD, Grathwohl et al. 2019, arXiv:1810.01367, section 3.1.
    """
    if noise is not None:
        product = torch.autograd.grad(velocity, x, noise, create_graph=create_graph)[0]
        return (product * noise).flatten(1).sum(1), product.flatten(1)[None]
    num_dims = x[0].numel()
    units = torch.eye(num_dims, dtype=x.dtype, device=x.device).reshape(num_dims, 1, *x.shape[1:])
    (rows,) = torch.autograd.grad(
        velocity, x, units.expand(num_dims, *x.shape), create_graph=create_graph, is_grads_batched=True
    )
    rows = rows.flatten(2)
    return torch.einsum("ibi->b", rows), rows


@dataclass(eq=False)
class Dynamics:
    r"""The right-hand side of a continuous flow's equation, as called by the solver.

    .. math:: \frac{d}{dt} (x, \log|\det J|, p) = \left(v, \operatorname{tr} \frac{\partial v}{\partial x},
              \tfrac 1 D (\lambda_K |v|^2 + \lambda_J |\epsilon^\top \tfrac{\partial v}{\partial x}|^2)\right)

    Args:
        noise: Noise of the trace estimate, constant during a solve; None for the exact trace.
        weights: :math:`(\lambda_K, \lambda_J)`; None for a state without :math:`p`.
        span: The times at which the solve starts and ends, within [0, 1].
    Raises:
        SolverError: When called, if a rate is not finite; at a step, if the state is not finite, the step does not
            advance the time, or there are too many steps.
    """

    velocity: Callable[[Tensor, Tensor], Tensor]
    noise: Tensor | None
    weights: tuple[float, float] | None
    span: tuple[float, float]
    method: Method
    num_evaluations: int = field(default=0, init=False)
    num_steps: int = field(default=0, init=False)
    last_states: tuple[Tensor, ...] = field(default=(), init=False)

    def __call__(self, t: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the rates of the states."""
        self.num_evaluations += 1
        self.last_states = tuple(state.detach() for state in states)
        if len(states) == 1:
            return self._point_alone(t, states[0])
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad(), full_precision(states[0].device):
            # A separate node, so that the Jacobian is with respect to this argument and nothing upstream of it.
            x = states[0].clone().requires_grad_()
            velocity = self.velocity(t, x)
            trace, products = divergence(velocity, x, self.noise, create_graph=differentiable)
            rates = [velocity, trace]
            if self.weights is not None:
                rates.append(self._penalty(velocity, products))
        if not _finite(rates):
            raise self.method.error(t, "the velocity or its divergence is not finite")
        return tuple(rates) if differentiable else tuple(rate.detach() for rate in rates)

    def _point_alone(self, t: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        with full_precision(x.device):
            velocity = self.velocity(t, x)
        if not _finite([velocity]):
            raise self.method.error(t, "the velocity is not finite")
        return (velocity,)

    def _penalty(self, velocity: Tensor, products: Tensor) -> Tensor:
        assert self.weights is not None
        kinetic_weight, jacobian_weight = self.weights
        kinetic, jacobian = velocity.flatten(1).square().sum(1), products.square().sum((0, 2))
        # Unlike a log-determinant, a penalty has no direction.
        direction = 1 if self.span[1] > self.span[0] else -1
        return direction * (kinetic_weight * kinetic + jacobian_weight * jacobian) / products.shape[2]

    def finish(self, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the ``results`` of the solve, checked, in full precision.

        torchdiffeq interpolates to the end of the last step, at a cancellation that costs a float32 result its last two
        digits. ``dopri5`` evaluates that point last, so it is taken from there.
        """
        if self.method.adaptive:
            ends = zip(results, self.last_states, strict=True)
            results = tuple(result + (last - result).detach() for result, last in ends)
        if not _finite(results):
            raise self.method.error(self.span[1], "the state is not finite")
        return results

    def callback_step(self, t: Tensor, states: Sequence[Tensor], step: Tensor) -> None:
        """Check a step of the solve before it is taken; torchdiffeq looks this method up by name."""
        self.num_steps += 1
        if self.num_steps > self.method.num_steps:
            raise self.method.error(t, f"more than {self.method.num_steps} steps")
        # torchdiffeq asserts the same next, but its assertion could not be distinguished from one of the velocity.
        if not bool(t + step > t) or not bool(t - step < t):
            raise self.method.error(t, "the step size underflowed")
        if not _finite(states):
            raise self.method.error(t, "the state is not finite")


def _finite(values: Sequence[Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in values)
