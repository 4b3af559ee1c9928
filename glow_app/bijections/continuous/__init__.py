"""Continuous normalising flows: the flow, its solver, the trace of its velocity, and what a caller asks of a solve."""

from glow_app.bijections.continuous.flow import ContinuousFlow
from glow_app.bijections.continuous.options import SolveRecord, held_noise, loose_solves, record_solves, without_log_det
from glow_app.bijections.continuous.solver import SolverError

__all__ = [
    "ContinuousFlow",
    "SolveRecord",
    "SolverError",
    "held_noise",
    "loose_solves",
    "record_solves",
    "without_log_det",
]
