"""A continuous normalising flow: a bijection that moves points along a velocity field."""

import math
from functools import partial
from importlib.util import find_spec
from typing import Literal, get_args

import torch
from torch import Tensor

from glow_app.bijections.bijection import Bijection
from glow_app.bijections.continuous.record import current_record
from glow_app.bijections.continuous.solver import Method, SolverError
from glow_app.bijections.continuous.trace import Dynamics, draw_noise
from glow_app.nn import Velocity
from glow_app.nn.shape_checks import require_at_least, require_choice, require_positive

Solver = Literal["dopri5", "euler", "midpoint", "rk4"]
Trace = Literal["auto", "exact", "hutchinson"]

# Up to this dimension the exact trace costs little more than an estimate, without its noise; evaluation may cost more.
EXACT_DIMS_IN_TRAINING, EXACT_DIMS = 8, 64
LARGEST_NUM_STEPS = 100_000  # bounds the solves of models from untrusted files


class ContinuousFlow(Bijection):
    r"""A point moves along a velocity field from time 0 (data) to time 1 (latent), or back.

    .. math:: \frac{dx}{dt} = v(t, x, h), \qquad
              \log|\det J| = \int_0^1 \operatorname{tr} \frac{\partial v}{\partial x}(t, x(t), h)\, dt

    Both integrals are solved numerically, so the two directions invert each other up to the error of the solver.
    With ``dopri5`` the steps adapt to a tolerance on the root mean square over the batch, so rows of a batch share
    their steps. A loose tolerance, or many fixed steps, suffice in training; with few fixed steps the network learns to
    exploit the solver's error. Evaluation mode has its own solver, by default adaptive with a tight tolerance, because
    the likelihood is exact only up to the solver's error.

    The trace is exact, at :math:`D` backward passes per evaluation, or an unbiased estimate
    :math:`\epsilon^\top \frac{\partial v}{\partial x} \epsilon` with signs :math:`\epsilon` drawn once per solve. An
    estimated ``log_det`` is noisy, and those of the two directions cancel only on average.

    Inside :func:`~glow_app.bijections.record_solves`, a solve records its number of evaluations and, where gradients
    are enabled and a weight is positive, a penalty on curved or uneven paths, which are expensive to solve.

    .. math:: \frac 1 D \int_0^1 \lambda_K |v|^2 + \lambda_J |\epsilon^\top \tfrac{\partial v}{\partial x}|^2 \, dt

    (with the Frobenius norm of the Jacobian where the trace is exact). ``encode`` and ``decode`` solve for the point
    alone, at a fraction of the cost.

    Args:
        velocity: The network :math:`v`.
        solver: ``dopri5``, adaptive, or ``euler``, ``midpoint`` or ``rk4`` with fixed steps.
        num_steps: Steps of a fixed-step solver.
        atol: Absolute tolerance of ``dopri5`` in training mode.
        rtol: Relative tolerance of ``dopri5`` in training mode.
        eval_solver: The solver in evaluation mode; with fixed steps, also ``num_steps``.
        eval_atol: Absolute tolerance in evaluation mode.
        eval_rtol: Relative tolerance in evaluation mode. All four are raised to the resolution of the dtype if needed.
        max_num_steps: Most steps of ``dopri5`` in training mode, where each step that is backpropagated through takes
            memory.
        eval_max_num_steps: Most steps of ``dopri5`` in evaluation mode.
        trace: ``exact``, ``hutchinson`` (an estimate), or ``auto``: exact up to 64 dimensions in evaluation mode and up
            to 8 in training mode, an estimate beyond.
        kinetic_weight: The weight :math:`\lambda_K`.
        jacobian_weight: The weight :math:`\lambda_J`.
    Shape:
        x, z: (B, D) or (B, C, H, W), as the velocity; context: (B, E) or None, for the velocity; log_det: (B,),
        nats.
    Raises:
        ValueError: If an argument is out of range, the velocity refuses the input, or an exact trace is requested in
            more than 64 dimensions.
        SolverError: If the equation cannot be solved.
        ModuleNotFoundError: If torchdiffeq is not installed.
    References:
        Neural ODEs, Chen et al. 2018, arXiv:1806.07366; FFJORD, Grathwohl et al. 2019, arXiv:1810.01367; the penalties
        from RNODE, Finlay et al. 2020, arXiv:2002.02798.
    """

    def __init__(
        self,
        velocity: Velocity,
        solver: Solver = "dopri5",
        num_steps: int = 8,
        atol: float = 1e-4,
        rtol: float = 1e-4,
        eval_solver: Solver = "dopri5",
        eval_atol: float = 1e-7,
        eval_rtol: float = 1e-7,
        max_num_steps: int = 100,
        eval_max_num_steps: int = 1000,
        trace: Trace = "auto",
        kinetic_weight: float = 0.0,
        jacobian_weight: float = 0.0,
    ) -> None:
        super().__init__()
        # Imported only in a solve, because it is slow; but a server must fail at its start, not in its first request.
        if find_spec("torchdiffeq") is None:
            raise ModuleNotFoundError("continuous flows need the package torchdiffeq", name="torchdiffeq")
        require_choice(get_args(Solver), solver=solver, eval_solver=eval_solver)
        require_choice(get_args(Trace), trace=trace)
        steps = {"num_steps": num_steps, "max_num_steps": max_num_steps, "eval_max_num_steps": eval_max_num_steps}
        require_at_least(1, **steps)
        if max(steps.values()) > LARGEST_NUM_STEPS:
            raise ValueError(f"a solve has {max(steps.values()):,} steps; expected at most {LARGEST_NUM_STEPS:,}")
        require_at_least(0, kinetic_weight=kinetic_weight, jacobian_weight=jacobian_weight)
        require_positive(atol=atol, rtol=rtol, eval_atol=eval_atol, eval_rtol=eval_rtol)
        self.velocity = velocity
        self.solvers = (solver, eval_solver)
        self.num_steps = num_steps
        self.tolerances = (atol, rtol)
        self.eval_tolerances = (eval_atol, eval_rtol)
        self.limits = (max_num_steps, eval_max_num_steps)
        self.trace = trace
        self.weights = (kinetic_weight, jacobian_weight)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Follow the velocity from time 0 to time 1."""
        return self.between(x, 0.0, 1.0, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Follow the velocity from time 1 to time 0."""
        return self.between(z, 1.0, 0.0, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Follow the velocity from time 0 to time 1, without the trace."""
        return self.move(x, 0.0, 1.0, context)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Follow the velocity from time 1 to time 0, without the trace."""
        return self.move(z, 1.0, 0.0, context)

    def between(self, x: Tensor, start: float, end: float, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Follow the velocity from time ``start`` to time ``end``; return the point and the log-determinant."""
        z, log_det = self._solve(x, (start, end), context, with_log_det=True)
        return z, log_det

    def move(self, x: Tensor, start: float, end: float, context: Tensor | None = None) -> Tensor:
        """Follow the velocity from time ``start`` to time ``end``; return the point alone."""
        (z,) = self._solve(x, (start, end), context, with_log_det=False)
        return z

    def _solve(
        self, x: Tensor, span: tuple[float, float], context: Tensor | None, with_log_det: bool
    ) -> tuple[Tensor, ...]:
        record, noise, enabled = current_record(), None, torch.is_grad_enabled()
        if not len(x):
            return x.clone(), *[x.new_zeros(0)] * with_log_det
        if not bool(x.isfinite().all()):
            raise SolverError(
                "a continuous flow was given a point that is not finite: the bijections before it have diverged; "
                "lower the learning rate"
            )
        # The trace needs autograd, which inference mode forbids; disabling that mode alone would enable gradients.
        with torch.inference_mode(False), torch.set_grad_enabled(enabled):
            if context is not None and context.is_inference():
                context = context.clone()
            penalised = with_log_det and record is not None and enabled and any(self.weights)
            states = (x, *[x.new_zeros(len(x))] * (with_log_det + penalised))
            num_dims = math.prod(x.shape[1:])
            if with_log_det and self.trace == "exact" and num_dims > EXACT_DIMS:
                raise ValueError(f"trace is exact in {num_dims} dimensions; expected {EXACT_DIMS} at most, or auto")
            if with_log_det and self.estimates(num_dims):
                noise = draw_noise(x, None if record is None else record.generator)
            velocity, method = partial(self.velocity, context=context), self._method(x.dtype)
            dynamics = Dynamics(velocity, noise, self.weights if penalised else None, span, method)
            z, *sums = dynamics.finish(method.solve(dynamics, states, span))
        if record is not None:
            record.num_evaluations.append(dynamics.num_evaluations)
            record.penalty = sum(sums[1:], start=record.penalty)
        return z, *sums[:1]

    def estimates(self, num_dims: int) -> bool:
        """Return whether the trace in ``num_dims`` dimensions is an estimate, in the current mode."""
        limit = EXACT_DIMS_IN_TRAINING if self.training else EXACT_DIMS
        return self.trace == "hutchinson" or (self.trace == "auto" and num_dims > limit)

    def _method(self, dtype: torch.dtype) -> Method:
        solver = self.solvers[0 if self.training else 1]
        # Below a few units in the last place an error estimate is rounding, and steps would shrink forever.
        floor = 10 * torch.finfo(dtype).eps
        atol, rtol = self.tolerances if self.training else self.eval_tolerances
        num_steps = self.limits[0 if self.training else 1] if solver == "dopri5" else self.num_steps
        prefix = "" if self.training else "eval_"
        return Method(solver, num_steps, max(atol, floor), max(rtol, floor), prefix)
