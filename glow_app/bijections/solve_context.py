"""What the code around a solve asks of it: a record, noise that is held, the point alone, fewer digits.

A bijection takes an input and a context and no more; these reach the continuous flows inside it from the outside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = [
    "SolveRecord",
    "current_record",
    "held_noise",
    "least_tolerance",
    "log_det_wanted",
    "loose_solves",
    "record_solves",
    "without_log_det",
]


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


def current_record() -> SolveRecord | None:
    """Return the record that is open, if any."""
    return _RECORD.get()


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
        generator: BitsTable the noise of trace estimates, on its own device, so that a step can be repeated exactly.

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
