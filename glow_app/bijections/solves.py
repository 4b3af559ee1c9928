"""How the equations of continuous flows are solved, and what a solve leaves beside its result."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = [
    "Method",
    "SolveRecord",
    "SolverError",
    "current_record",
    "held_noise",
    "least_tolerance",
    "log_det_wanted",
    "loose_solves",
    "record_solves",
    "without_log_det",
]


class SolverError(FloatingPointError):
    """A differential equation could not be solved: too stiff for the tolerance, or not finite."""


@dataclass(frozen=True)
class Method:
    """How a differential equation is solved.

    Attributes:
        solver: ``dopri5``, or a fixed-step solver of torchdiffeq.
        num_steps: Steps of a fixed-step solver; steps, accepted or not, after which ``dopri5`` is given up.
        atol: Absolute tolerance of ``dopri5``.
        rtol: Relative tolerance of ``dopri5``.
        adjoint: Whether gradients come from an equation solved backward in time.
        prefix: Of the names of the settings, for messages.
    """

    solver: str
    num_steps: int
    atol: float
    rtol: float
    adjoint: bool
    prefix: str = ""

    @property
    def adaptive(self) -> bool:
        """Whether the solver chooses its steps."""
        return self.solver == "dopri5"

    def solve(
        self,
        dynamics: Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, ...]],
        states: tuple[Tensor, ...],
        span: tuple[float, float],
        tensors: Sequence[Tensor],
    ) -> tuple[Tensor, ...]:
        """Return the states at the end of the ``span``.

        Args:
            dynamics: From the time and the states to their rates.
            states: At the start: the point, the log-determinant, and what has no say in the steps.
            span: The first and the last time.
            tensors: All that the dynamics depend on besides, for the gradients of the adjoint.
        """
        # Late: it imports SciPy, which takes longer than the rest of the bijections and which few models need.
        from torchdiffeq import odeint, odeint_adjoint

        times = torch.tensor(span, dtype=states[0].dtype, device=states[0].device)
        # A step ends at the end: beyond [0, 1] the velocity has never been seen, and `Dynamics.finish` counts on it.
        # (torchdiffeq negates times, and the adjoint goes back to the start.)
        # The first step goes all the way, and is refused where that is too far. For the velocity zero, with which
        # training starts, torchdiffeq's own guess is a millionth.
        adaptive = {
            "step_t": torch.cat([times, -times]).unique(),
            "norm": _norm,
            "first_step": abs(span[1] - span[0]),
        }
        options = adaptive if self.adaptive else {"grid_constructor": self._grid}
        arguments = {"method": self.solver, "atol": self.atol, "rtol": self.rtol, "options": options}
        if self.adjoint:
            solution = odeint_adjoint(dynamics, states, times, adjoint_params=tuple(tensors), **arguments)
        else:
            solution = odeint(dynamics, states, times, **arguments)
        return tuple(state[-1] for state in solution)

    def _grid(self, dynamics: object, states: object, times: Tensor) -> Tensor:
        fractions = torch.arange(self.num_steps + 1, dtype=times.dtype, device=times.device) / self.num_steps
        # Without rounding at the end, where torchdiffeq compares.
        return torch.cat([times[0] + (times[-1] - times[0]) * fractions[:-1], times[-1:]])

    def error(self, time: float, reason: str) -> SolverError:
        """Return the error that says where the solve failed, and what to do."""
        atol, rtol = f"{self.prefix}atol", f"{self.prefix}rtol"
        setting = f"{atol} {self.atol:.2g} and {rtol} {self.rtol:.2g}" if self.adaptive else f"{self.num_steps} steps"
        remedy = f"raise {atol}, {rtol} or {self.prefix}max_num_steps" if self.adaptive else "raise num_steps"
        return SolverError(
            f"{self.solver} with {setting} failed at t = {time:.3g}: {reason}; {remedy}, lower the learning rate, "
            "or regularise by kinetic_weight and jacobian_weight"
        )


def _norm(states: Sequence[Tensor]) -> Tensor:
    # Of the point and the log-determinant alone: a record that adds penalties must not change the steps.
    return torch.stack([state.square().mean().sqrt() for state in states[:2]]).max()


@dataclass
class SolveRecord:
    """What the solves inside :func:`record_solves` were and cost.

    Attributes:
        generator: Where the noise of trace estimates comes from; torch's default one of the device if None.
        num_evaluations: Velocity evaluations of each solve, in order; those of backward passes are not counted.
        penalty: (B,), the regularisation of each image, weighted by the flows and summed over their solves; 0.0
            before any solve that has one.
    """

    generator: torch.Generator | None = None
    num_evaluations: list[int] = field(default_factory=list)
    penalty: Tensor | float = 0.0


_RECORD: ContextVar[SolveRecord | None] = ContextVar("solve_record", default=None)


@contextmanager
def record_solves(generator: torch.Generator | None = None) -> Iterator[SolveRecord]:
    """Record the solves of continuous flows.

    A bijection returns ``(z, log_det)`` and keeps no state, so that the cost of its solve, and the penalties that a
    loss adds, come out here::

        with record_solves() as record:
            z, log_det = flow(x)
        loss = (record.penalty - standard_normal_log_density([z]) - log_det).mean()

    Records nest: the innermost one sees a solve. What is recomputed in a backward pass, as under activation
    checkpointing, sees none, so with a ``generator`` its noise would differ.

    Args:
        generator: Draws the noise of trace estimates, on its own device, so that a step can be repeated exactly.

    Yields:
        The record, filled as solves finish.
    """
    record = SolveRecord(generator)
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


@contextmanager
def held_noise(device: torch.device) -> Iterator[Callable[[], None]]:
    """Yield a function after whose call the noise of trace estimates begins again as at the start of the block.

    An average of densities over estimates with noise of their own would be too large, since the exponential function
    bends upward; with the same noise in all of them it is not.
    """
    record = current_record() or SolveRecord()
    record.generator = generator = record.generator or _seeded(device)
    token, state = _RECORD.set(record), generator.get_state()

    def begin_again() -> None:
        generator.set_state(state)

    try:
        yield begin_again
    finally:
        _RECORD.reset(token)


def _seeded(device: torch.device) -> torch.Generator:
    # By torch's own generator, so that its seed decides this one too.
    return torch.Generator(device).manual_seed(int(torch.randint(2**63 - 1, ())))


_WITHOUT_LOG_DET: ContextVar[bool] = ContextVar("without_log_det", default=False)


@contextmanager
def without_log_det() -> Iterator[None]:
    """Let solves find their points alone; their log-determinants come out as NaN.

    For sampling and encoding, which want no likelihood: the trace, above all an exact one, is most of a solve's cost.
    """
    token = _WITHOUT_LOG_DET.set(True)
    try:
        yield
    finally:
        _WITHOUT_LOG_DET.reset(token)


def log_det_wanted() -> bool:
    """Return whether log-determinants are to be found, as they are outside :func:`without_log_det`."""
    return not _WITHOUT_LOG_DET.get()


_LEAST_TOLERANCE: ContextVar[float] = ContextVar("least_tolerance", default=0.0)


@contextmanager
def loose_solves(tolerance: float) -> Iterator[None]:
    """Let adaptive solves be no tighter than ``tolerance``: for pictures, which show no more digits."""
    token = _LEAST_TOLERANCE.set(tolerance)
    try:
        yield
    finally:
        _LEAST_TOLERANCE.reset(token)


def least_tolerance() -> float:
    """Return the tolerance that suffices, 0 outside :func:`loose_solves`."""
    return _LEAST_TOLERANCE.get()


def current_record() -> SolveRecord | None:
    """Return the record that is open, if any."""
    return _RECORD.get()
