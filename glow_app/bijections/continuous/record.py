"""Context managers of ODE solves, which record their cost or repeat their noise.

A bijection takes an input and a context. Its caller may be several layers away from a continuous flow inside it, so
the record travels in a context variable, which threads and generators keep apart.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class SolveRecord:
    """Cost and penalty of the solves inside :func:`record_solves`.

    Attributes:
        generator: Draws the noise of trace estimates; the default generator of the device if None.
        num_evaluations: Velocity evaluations of each solve, in order, without those of backward passes.
        penalty: (B,), the regularisation of each image, weighted by the flows and summed over their solves; 0.0
            before the first solve that has a penalty.
    """

    generator: torch.Generator | None = None
    num_evaluations: list[int] = field(default_factory=list)
    penalty: Tensor | float = 0.0


_RECORD: ContextVar[SolveRecord | None] = ContextVar("solve_record", default=None)


def current_record() -> SolveRecord | None:
    """Return the record of the enclosing block, if there is one."""
    return _RECORD.get()


@contextmanager
def record_solves(generator: torch.Generator | None = None, record: SolveRecord | None = None) -> Iterator[SolveRecord]:
    """Record the solves of continuous flows.

    A bijection returns ``(z, log_det)`` and keeps no state, so the cost of its solve and the penalties of a loss are
    returned here::

        with record_solves() as record:
            z, log_det = flow(x)
        loss = (record.penalty - standard_normal_log_density([z]) - log_det).mean()

    Records nest: a solve is recorded in the innermost one. A forward pass that is repeated in the backward pass runs
    outside the block: with a ``generator`` its noise would differ.

    Args:
        generator: Draws the noise of trace estimates, on its own device, so that a step can be repeated exactly.
        record: An earlier record to go on with; a new one if None.
    Yields:
        The record, filled as solves finish.
    """
    record = record or SolveRecord(generator)
    token = _RECORD.set(record)
    try:
        yield record
    finally:
        _RECORD.reset(token)


@contextmanager
def held_noise(device: torch.device, generator: torch.Generator) -> Iterator[Callable[[], None]]:
    """Yield a function that rewinds the noise of trace estimates to the start of the block.

    An average of densities over independent trace estimates is biased upward, because the exponential function is
    convex; with the same noise in all of them far less, and not at all where the Jacobians are equal.

    Args:
        generator: Its state seeds the noise, without a change of it, unless :func:`record_solves` has a generator.
    """
    record = _RECORD.get() or SolveRecord()
    earlier = record.generator
    # Hashed, since a copy of the generator would repeat the noise of other draws.
    seed = int.from_bytes(hashlib.sha256(generator.get_state().numpy().tobytes()).digest()[:7])
    record.generator = noise = earlier or torch.Generator(device).manual_seed(seed)
    state = noise.get_state()

    def rewind() -> None:
        noise.set_state(state)

    try:
        with record_solves(record=record):
            yield rewind
    finally:
        record.generator = earlier
