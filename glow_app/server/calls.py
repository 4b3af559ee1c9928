"""Calls of the model: rows that may share a batch with those of other requests, and their place in the queue."""

import contextvars
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from glow_app.models.image_model import ImageModel


@dataclass
class Turn:
    """A request's place in the queue."""

    arrived: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # estimated work of all its calls so far
    is_abandoned: bool = False


Run = Callable[[ImageModel, list[Any], int], Sequence[Any]]


@dataclass
class Call:
    """Rows for the model, each the arguments of one result, and their results.

    Calls with the same function may share a batch.

    Args:
        run: Function of the model, the rows, and the size to pad the batch to; returns one result per row.
        rows: At least one.
        turn: Turn of the request.
        must_fill: Whether to pad batches to fixed sizes, on which the last bit of a result may depend.
        work: Work of a row, relative to other rows of the same function.
        is_alone: Whether to run it without other calls, for example after a shared batch has failed.
    """

    run: Run
    rows: list[Any]
    turn: Turn
    must_fill: bool = False
    work: float = 1.0
    is_alone: bool = False
    future: "Future[list[Any]]" = field(default_factory=Future)
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    results: list[Any] = field(default_factory=list)
    submitted: float = 0.0
    due: float = 0.0
    taken: int = 0

    @property
    def is_over(self) -> bool:
        """Whether all rows have been started, or nobody waits for the results any longer."""
        return self.turn.is_abandoned or self.future.done() or self.taken == len(self.rows)
