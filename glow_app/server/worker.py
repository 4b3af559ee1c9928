"""The only thread that uses models: batches calls of many requests, and serves short ones first."""

import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any

from glow_app.bijections import ContinuousFlow
from glow_app.models.image_model import ImageModel
from glow_app.server.limits import LARGEST_BATCH

# A call is due after this multiple of its estimated duration, so that short calls overtake long ones and none starves.
_PATIENCE = 10.0
_FIRST_RATE = 0.1  # seconds per row of a kind of calls until it is measured
_BATCH_SECONDS = 1.0  # target duration of a batch, which cannot be interrupted
_GATHER_SECONDS = 0.005  # seconds to wait for the clients of the last batch, which are likely to call again


class ModelEndedError(RuntimeError):
    """The model's thread has ended, or the request was abandoned."""


@dataclass
class Ticket:
    """A request's place in the queue, shared by all its calls."""

    arrived: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # estimated work of all its calls so far
    share: float = 0.0  # of a restoration that is done
    is_abandoned: bool = False


@dataclass(eq=False)
class Call:
    """A call of the model: its rows, each the arguments of one result, and their results.

    Args:
        run: Function of the model and some rows; returns one result per row.
        model: The model.
        rows: At least one.
        ticket: Ticket of the request.
        is_padded: Whether to pad every batch to the same size, on which the last bit of a result may depend.
        is_alone: Whether to run row by row without other calls, for example after a shared batch has failed.
    """

    run: Callable[[ImageModel, list[Any]], Sequence[Any]]
    model: ImageModel
    rows: list[Any]
    ticket: Ticket
    is_padded: bool = False
    is_alone: bool = False
    future: "Future[list[Any]]" = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    due: float = 0.0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What calls that share a batch have in common, also which parts of a row are missing."""
        row = self.rows[0]
        missing = [part is None for part in row] if isinstance(row, tuple) else []
        return self.run, id(self.model), self.is_padded, *missing


class ModelWorker:
    """Runs the call that is due first, batched with calls of the same kind.

    A call is due at the arrival of its request plus ten times the seconds of work requested so far, so that drawing one
    image does not wait for many scores. With an adaptive solver, whose steps depend on the whole batch, each row is a
    batch of its own.
    """

    def __init__(self, model: ImageModel, batch_size: int = 16) -> None:
        flows = [module for module in model.modules() if isinstance(module, ContinuousFlow)]
        self._can_share = not any("dopri5" in flow.solvers for flow in flows)
        self._batch_size = batch_size if self._can_share else 1
        self._calls: list[Call] = []  # that which is due first comes first
        self._changed = threading.Condition()
        self._rates: dict[tuple[Any, ...], float] = {}  # seconds per row
        self._num_served = 0  # calls that the last batch completed
        self._is_closing = False
        # A daemon: a thread in the model's code would abort the process if its interpreter were finalised meanwhile.
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def backlog(self) -> float:
        """Estimated seconds of queued work."""
        return sum((len(call.rows) - len(call.results)) * self._rate(call) for call in self._calls)

    def _rate(self, call: Call) -> float:
        return self._rates.get(call.kind, _FIRST_RATE)

    def submit(self, call: Call) -> None:
        """Queue a call; its future is set on the worker's thread.

        Raises:
            ModelEndedError: If the worker has died or is closed, or the request was abandoned.
        """
        with self._changed:
            if self._is_closing or call.ticket.is_abandoned:
                raise ModelEndedError
            call.ticket.seconds += len(call.rows) * self._rate(call)
            call.due = call.ticket.arrived + _PATIENCE * call.ticket.seconds
            insort(self._calls, call, key=attrgetter("due"))
            self._changed.notify()

    def abandon(self, ticket: Ticket) -> None:
        """Drop the queued calls of a request."""
        with self._changed:
            ticket.is_abandoned = True
            self._finish([call for call in self._calls if call.ticket is ticket], ModelEndedError())

    def stop(self, seconds: float) -> None:
        """Drop all calls, and wait at most ``seconds`` for the thread to finish its current batch."""
        self._close()
        self._thread.join(seconds)

    def _close(self) -> None:
        with self._changed:
            self._is_closing = True
            for call in self._calls:
                self._finish([call], ModelEndedError())  # one each, whose traceback is that of one request
            self._changed.notify()

    def _finish(self, calls: Sequence[Call], error: Exception | None = None) -> None:
        """Remove calls from the queue, and set their results, or an error."""
        with self._changed:
            self._calls = [call for call in self._calls if call not in calls]
            self._changed.notify()
        for call in calls:
            with suppress(InvalidStateError):  # cancelled meanwhile
                if error is None:
                    call.future.set_result(call.results)
                else:
                    call.future.set_exception(error)

    def _run(self) -> None:
        try:
            while not self._is_closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._calls or self._is_closing)
                    self._changed.wait_for(lambda: len(self._calls) >= self._num_served, _GATHER_SECONDS)
                    batch = self._next_batch()
                if batch:
                    self._serve(batch)
        finally:  # no request may wait forever, whatever went wrong
            self._close()

    def _next_batch(self) -> list[tuple[Call, list[Any]]]:
        """Return the rows of the next batch by call."""
        if not self._calls:  # all were abandoned
            return []
        first = self._calls[0]
        alike = [call for call in self._calls if call.kind == first.kind and not call.is_alone]
        batch, room = [], self._max_rows(first)
        for call in [first] if first.is_alone else alike:
            rows = call.rows[len(call.results) :][:room]
            if rows:
                batch.append((call, rows))
                room -= len(rows)
        return batch

    def _max_rows(self, first: Call) -> int:
        if first.is_padded:
            return self._batch_size
        rate = self._rates.get(first.kind)
        if rate is None or first.is_alone or not self._can_share:  # a score may take much longer than decoding
            return 1
        return min(LARGEST_BATCH, max(1, int(_BATCH_SECONDS / rate)))

    def _serve(self, batch: list[tuple[Call, list[Any]]]) -> None:
        first = batch[0][0]
        rows = [row for _, part in batch for row in part]
        padded = rows + [rows[-1]] * (self._batch_size - len(rows)) if first.is_padded else rows
        begun = time.perf_counter()
        try:
            results = iter(first.run(first.model, padded))
        except Exception as error:
            if len(batch) == 1:
                self._finish([first], error)
            for call, _ in batch:  # any of them may have failed
                call.is_alone = True
            return
        rate = (time.perf_counter() - begun) / len(padded)
        self._rates[first.kind] = rate + 0.8 * (self._rates.get(first.kind, rate) - rate)
        for call, part in batch:
            call.results += islice(results, len(part))
        done = [call for call, _ in batch if len(call.results) == len(call.rows)]
        self._num_served = len(done)
        self._finish(done)
