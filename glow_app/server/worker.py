"""The only thread on which models compute: it batches the work of many requests, and serves short ones first."""

import threading
import time
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any

import torch

# A call is due after this multiple of its estimated duration, so that short calls overtake long ones and none starves.
_PATIENCE = 10.0
# Further calls of a request are due with its first one until they take this multiple of it, such as decoding for an
# edit: of many edits at once, the first are finished before the last begin.
_FOLLOWING = 3.0
_FIRST_RATE = 0.1  # seconds per row of a kind of calls until it is measured
_BATCH_SECONDS = 1.0  # target duration of a batch, which cannot be interrupted
_BATCH_ROWS = 64  # maximum number of rows in a batch
_GATHER = 0.05  # share of the last batch's duration to wait for its clients, which are likely to call again


class ModelEndedError(RuntimeError):
    """The model's thread has ended, or the request was abandoned."""


@dataclass
class Ticket:
    """A request's place in the queue, shared by all its calls."""

    arrived: float = field(default_factory=time.monotonic)
    first: float = 0.0  # estimated seconds of its first call that can share a batch
    seconds: float = 0.0  # and of all its calls so far
    share: float = 0.0  # of the restoration that is done
    is_abandoned: bool = False


TICKET: ContextVar[Ticket] = ContextVar("ticket")  # of the request that the current thread works for


@dataclass(eq=False)
class Call:
    """Rows, each the arguments of one result, and their results.

    Args:
        run: Function of some rows and ``options``; returns one result per row.
        rows: At least one.
        ticket: Ticket of the request.
        options: Further arguments of ``run``, the same for all rows of a batch; the first, such as a size, determines
            how long a row takes.
        is_alone: Whether to run row by row without other calls, for example after a shared batch has failed.
    """

    run: Callable[..., Sequence[Any]]
    rows: list[Any]
    ticket: Ticket
    options: tuple[Any, ...] = ()
    is_alone: bool = False
    future: "Future[list[Any]]" = field(default_factory=Future)
    results: list[Any] = field(default_factory=list)
    due: float = 0.0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What determines the seconds per row: the function, its first option, and which parts of a row are missing."""
        row = self.rows[0]
        missing = [part is None for part in row] if isinstance(row, tuple) else []
        return self.run, *self.options[:1], *missing


class ModelWorker:
    """Runs the call that is due first, batched with calls of the same kind and options.

    A call is due at the arrival of its request plus ten times the seconds of work requested so far, so that drawing one
    image does not wait for many scores; but twice the first call's seconds do not count.
    """

    def __init__(self) -> None:
        self._calls: list[Call] = []  # that which is due first comes first
        self._changed = threading.Condition()
        self._rates: dict[tuple[Any, ...], float] = {}  # seconds per row of a kind
        self._num_served = self._num_new = 0  # calls that the last batch completed, and those since it ended
        self._gather_seconds = 0.0  # to wait for as many
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

    def compute(self, run: Callable[..., Sequence[Any]], rows: list[Any], *options: Any, is_alone: bool = False) -> Any:
        """Return the results of a :class:`Call` for the request of this thread, when they are computed."""
        call = Call(run, rows, TICKET.get(), options, is_alone)
        self.submit(call)
        return call.future.result()

    def run_steps(self, steps: Iterator[None], total: int, share: float = 1.0) -> Iterator[None]:
        """Yield the results of steps, such as those of a restoration, and note on the ticket what is done.

        The steps are a ``share`` of the work of the request.
        """
        while not self.compute(_step, [steps], is_alone=True)[0]:
            TICKET.get().share += share / total
            yield

    def submit(self, call: Call) -> None:
        """Queue a call; its future is set on the worker's thread.

        Raises:
            ModelEndedError: If the worker has died or is closed, or the request was abandoned.
        """
        with self._changed:
            if self._is_closing or call.ticket.is_abandoned:
                raise ModelEndedError
            ticket, seconds = call.ticket, len(call.rows) * self._rate(call)
            ticket.seconds += seconds
            if not call.is_alone:  # the steps of a restoration are many, and let others pass
                ticket.first = ticket.first or seconds
            call.due = ticket.arrived + _PATIENCE * (
                ticket.first + max(0.0, ticket.seconds - _FOLLOWING * ticket.first)
            )
            self._num_new += 1
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
                    self._changed.wait_for(lambda: self._num_new >= self._num_served, self._gather_seconds)
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
        shared = first.kind, first.options, False
        alike = [call for call in self._calls if (call.kind, call.options, call.is_alone) == shared]
        batch, room = [], self._max_rows(first)
        for call in [first] if first.is_alone else alike:
            rows = call.rows[len(call.results) :][:room]
            if rows:
                batch.append((call, rows))
                room -= len(rows)
        return batch

    def _max_rows(self, first: Call) -> int:
        rate = self._rates.get(first.kind)
        if rate is None or first.is_alone:  # a score may take much longer than decoding
            return 1
        return min(_BATCH_ROWS, max(1, int(_BATCH_SECONDS / rate)))

    def _serve(self, batch: list[tuple[Call, list[Any]]]) -> None:
        first = batch[0][0]
        rows = [row for _, part in batch for row in part]
        begun = time.perf_counter()
        try:
            results = iter(first.run(rows, *first.options))
        except Exception as error:
            if len(batch) == 1:
                self._finish([first], error)
            for call, _ in batch:  # any of them may have failed
                call.is_alone = True
            return
        self._gather_seconds = _GATHER * (seconds := time.perf_counter() - begun)
        rate = seconds / len(rows)
        self._rates[first.kind] = rate + 0.8 * (self._rates.get(first.kind, rate) - rate)
        for call, part in batch:
            call.results += islice(results, len(part))
        done = [call for call, _ in batch if len(call.results) == len(call.rows)]
        self._num_served, self._num_new = len(done), 0
        self._finish(done)


@torch.no_grad()
def _step(rows: list[Iterator[None]]) -> list[Any]:
    return [next(steps, True) for steps in rows]  # True after the last
