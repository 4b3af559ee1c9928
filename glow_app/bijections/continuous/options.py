"""Context managers that set options of ODE solves: record the cost, repeat the noise, loosen tolerances.

A bijection takes an input and a context. Its caller may be several layers away from a continuous flow inside it, so
these options travel in a context variable, which threads and generators keep apart.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

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


@dataclass(frozen=True)
class SolveOptions:
    """Options of a solve.

    Attributes:
        record: Where cost and penalty are recorded, if anywhere.
        least_tolerance: Adaptive solves are no tighter than this.
    """

    record: SolveRecord | None = None
    least_tolerance: float = 0.0


_DEFAULT = SolveOptions()
_OPTIONS: ContextVar[SolveOptions] = ContextVar("solve_options", default=_DEFAULT)


def solve_options() -> SolveOptions:
    """Return the options of the enclosing blocks."""
    return _OPTIONS.get()


@contextmanager
def _with_options(**changes: object) -> Iterator[None]:
    token = _OPTIONS.set(replace(_OPTIONS.get(), **changes))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _OPTIONS.reset(token)


@contextmanager
def record_solves(generator: torch.Generator | None = None) -> Iterator[SolveRecord]:
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
    Yields:
        The record, filled as solves finish.
    """
    record = SolveRecord(generator)
    with _with_options(record=record):
        yield record


@contextmanager
def held_noise(device: torch.device, generator: torch.Generator) -> Iterator[Callable[[], None]]:
    """Yield a function that rewinds the noise of trace estimates to the start of the block.

    An average of densities over independent trace estimates is biased upward, because the exponential function is
    convex; with the same noise in all of them far less, and not at all where the Jacobians are equal.

    Args:
        device: Of the solves.
        generator: Its state seeds the noise, without a change of it, unless :func:`record_solves` has a generator.
    """
    record = _OPTIONS.get().record or SolveRecord()
    earlier = record.generator
    record.generator = noise = earlier or _seeded(device, generator)
    state = noise.get_state()

    def rewind() -> None:
        noise.set_state(state)

    try:
        with _with_options(record=record):
            yield rewind
    finally:
        record.generator = earlier


def _seeded(device: torch.device, generator: torch.Generator) -> torch.Generator:
    # Hashed, since a copy of the generator would repeat the noise of other draws.
    digest = hashlib.sha256(generator.get_state().numpy().tobytes()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7]))


def loose_solves(tolerance: float) -> AbstractContextManager[None]:
    """Raise the tolerances of adaptive solves to at least ``tolerance``. Generated images need no tighter ones."""
    return _with_options(least_tolerance=tolerance)
