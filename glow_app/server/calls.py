"""What a request asks of the model's one thread: its place in the queue, and rows that may share a batch."""

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

    client: str = ""
    arrived: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # of work, of all calls so far
    is_abandoned: bool = False


Run = Callable[[ImageModel, list[Any], int], Sequence[Any]]


@dataclass
class Call:
    """Rows for the model, each the arguments of one result, and their results.

    Calls whose function is the same may share a batch.

    Args:
        run: Given the model, the rows, and the size to which a batch that must be full is filled up, returns one
            result per row.
        rows: At least one.
        turn: Of the request.
        must_fill: Whether results may depend, in their last bit, on the size of the batch, and must not.
        work: Of a row, relative to others of the same function.
        is_alone: Whether it shares no batch, for example since one with others failed.
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
        """Whether nothing is left to start, or nobody waits for it any longer."""
        return self.turn.is_abandoned or self.future.done() or self.taken == len(self.rows)
