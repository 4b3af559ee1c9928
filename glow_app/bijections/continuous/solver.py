"""The ODE solver of continuous flows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class SolverError(FloatingPointError):
    """A differential equation could not be solved: too stiff for the tolerance, or not finite."""


@dataclass(frozen=True)
class Method:
    """How a differential equation is solved.

    Attributes:
        solver: ``dopri5``, or a fixed-step solver of torchdiffeq.
        num_steps: Steps of a fixed-step solver; most steps of ``dopri5``, accepted or not.
        prefix: Prefix of the settings' names in messages.
    """

    solver: str
    num_steps: int
    atol: float
    rtol: float
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
    ) -> tuple[Tensor, ...]:
        """Return the states at the end of the ``span``.

        Args:
            dynamics: From the time and the states to their rates.
            states: Initial states: the point, the log-determinant, and states that do not influence the steps.
            span: The first and the last time.
        """
        # Imported here because it imports SciPy, which is slow and which few models need.
        from torchdiffeq import odeint

        times = torch.tensor(span, dtype=states[0].dtype, device=states[0].device)
        # The last step ends exactly at the end: the velocity is not trained beyond [0, 1], and `Dynamics.finish` relies
        # on it. The first step tries the whole span; for the zero velocity with which training starts, torchdiffeq's
        # own guess is a millionth.
        adaptive = {"step_t": times, "norm": _norm, "first_step": abs(span[1] - span[0])}
        options = adaptive if self.adaptive else {"grid_constructor": self._grid}
        solution = odeint(dynamics, states, times, method=self.solver, atol=self.atol, rtol=self.rtol, options=options)
        return tuple(state[-1] for state in solution)

    def _grid(self, dynamics: object, states: object, times: Tensor) -> Tensor:
        fractions = torch.arange(self.num_steps + 1, dtype=times.dtype, device=times.device) / self.num_steps
        # The end is not rounded, because torchdiffeq compares it for equality.
        return torch.cat([times[0] + (times[-1] - times[0]) * fractions[:-1], times[-1:]])

    def error(self, time: float | Tensor, reason: str) -> SolverError:
        """Return the error of a failed solve: where it failed, and what to do."""
        atol, rtol = f"{self.prefix}atol", f"{self.prefix}rtol"
        setting = f"{atol} {self.atol:.2g} and {rtol} {self.rtol:.2g}" if self.adaptive else f"{self.num_steps} steps"
        remedy = f"raise {atol}, {rtol} or {self.prefix}max_num_steps" if self.adaptive else "raise num_steps"
        return SolverError(
            f"{self.solver} with {setting} failed at t = {abs(float(time)):.3g}: {reason}; {remedy}, lower the "
            "learning rate, or regularise by kinetic_weight and jacobian_weight"
        )


def _norm(states: Sequence[Tensor]) -> Tensor:
    # Only of the point and the log-determinant, so that recording penalties does not change the steps.
    return torch.stack([state.square().mean().sqrt() for state in states[:2]]).max()
