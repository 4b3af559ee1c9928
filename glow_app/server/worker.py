"""The only thread that uses the model: batches calls of many requests, and serves short ones first."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from operator import attrgetter
from typing import Any

from glow_app.bijections import ContinuousFlow
from glow_app.models.image_model import ImageModel
from glow_app.server.calls import Call, Run, Turn
from glow_app.server.daemon_thread import start_daemon_thread
from glow_app.server.limits import LARGEST_BATCH
from glow_app.server.sizes import equal_sizes, seconds_per_image

# A call is due after this multiple of its seconds of work, so that short calls overtake long ones and none starves.
_PATIENCE = 10.0

_SECONDS = 1.0  # target duration of a batch, which cannot be interrupted
_MOST = 0.8  # share of the expected calls that a batch waits for


class ModelEndedError(RuntimeError):
    """The model's thread has ended, or the request was abandoned."""


class ModelWorker:
    """Runs the call that is due first, batched with calls of the same function.

    A call is due at the arrival of its request plus ten times the seconds of work requested so far, so that drawing one
    image does not wait for many scores. Images drawn from seeds do not depend on other requests: their batches are
    padded to one of :attr:`sizes`, because the last bit of a convolution may depend on the batch size. With an adaptive
    solver, whose steps depend on the whole batch, each row is a batch of its own.

    Args:
        model: The model to run.
        batch_size: Images drawn per batch; larger batches are used if they give the same images to the last bit.
        on_batch: Called with the number of rows of each batch of drawn images.
        on_wait: Called with the seconds that each call waited for its first batch.
    """

    def __init__(
        self,
        model: ImageModel,
        batch_size: int = 16,
        on_batch: Callable[[int], None] = lambda _: None,
        on_wait: Callable[[float], None] = lambda _: None,
    ) -> None:
        self.model = model
        self._on_batch, self._on_wait = on_batch, on_wait
        solvers = [module.solvers for module in model.modules() if isinstance(module, ContinuousFlow)]
        self.has_solves = bool(solvers)
        self._is_shared = not any("dopri5" in names for names in solvers)
        self.sizes = equal_sizes(model, batch_size) if self._is_shared else [1]
        self._calls: list[Call] = []
        self._changed = threading.Condition()
        self._first_rate = seconds_per_image(model)
        self._rates: dict[Run, float] = {}  # seconds per row, or per unit of work where rows differ
        self._last: dict[Run, tuple[int, float, float]] = {}  # last batch: calls served, seconds, end
        self._is_closing = False
        self._thread = start_daemon_thread("model", self._run)

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    @property
    def backlog(self) -> float:
        """Estimated seconds of queued work."""
        with self._changed:
            return sum(self._seconds(call, len(call.rows) - call.taken) for call in self._calls)

    def submit(self, call: Call) -> None:
        """Queue a call; its future is set on the worker's thread.

        Raises:
            ModelEndedError: If the worker has died or is closed, or the request was abandoned.
            ValueError: If it has no rows.
        """
        if not call.rows:
            raise ValueError("a call has no rows; expected at least one")
        with self._changed:
            if self._is_closing or call.turn.is_abandoned or not self.is_alive:
                raise ModelEndedError
            call.turn.seconds += self._seconds(call, len(call.rows))
            call.submitted = time.monotonic()
            call.due = call.turn.arrived + _PATIENCE * call.turn.seconds
            self._calls.append(call)
            self._changed.notify()

    def abandon(self, turn: Turn) -> None:
        """Drop the queued calls of a request."""
        with self._changed:
            turn.is_abandoned = True
            dropped = [call for call in self._calls if call.turn is turn]
            self._calls = [call for call in self._calls if call.turn is not turn]
            self._changed.notify()
        for call in dropped:
            _settle(call.future, error=ModelEndedError())

    def close(self) -> None:
        """End the thread after its queued calls."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()

    def stop(self, seconds: float = 0.0) -> None:
        """Drop all calls, and wait at most ``seconds`` for the thread to finish its current batch."""
        self.close()
        self._drop()
        self._thread.join(seconds)

    def _rate(self, run: Run, work: float = 1.0) -> float:
        """Return the estimated seconds per row; before its first run, those of sampling ``work`` images."""
        return work * (self._measured_rate(run) or self._first_rate)

    def _measured_rate(self, run: Run) -> float | None:
        return self._rates.get(run)

    def _seconds(self, call: Call, rows: int) -> float:
        return rows * self._rate(call.run, call.work)

    def _run(self) -> None:
        try:
            while (parts := self._next()) is not None:
                self._serve(parts)
        finally:  # no request may wait forever, whatever went wrong
            self._drop()

    def _drop(self) -> None:
        with self._changed:
            calls, self._calls = self._calls, []
        for call in calls:
            _settle(call.future, error=ModelEndedError())

    def _next(self) -> list[tuple[Call, list[Any]]] | None:
        """Return the rows of the next batch by call, or None if the worker is closed and the queue is empty."""
        with self._changed:
            mates: list[Call] = []
            while not mates:  # empty if all were abandoned while waiting for more
                self._calls = [call for call in self._calls if not call.is_over]
                if self._calls:
                    mates = self._gather(min(self._calls, key=attrgetter("due")))
                elif self._is_closing:
                    return None
                else:
                    self._changed.wait()
            parts = []
            room = self._room(mates)
            for call in mates:
                rows = call.rows[call.taken : call.taken + room]
                if rows:
                    if not call.taken:
                        self._on_wait(time.monotonic() - call.submitted)
                    call.taken += len(rows)
                    room -= len(rows)
                    parts.append((call, rows))
            return parts

    def _gather(self, first: Call) -> list[Call]:
        """Return the calls of the next batch, after waiting briefly for the clients of the last batch of its function.

        These clients are likely to call again, and a larger batch costs less per row. The wait ends when most of them
        have, and lasts at most as long as the last batch. The result is empty if all calls were abandoned meanwhile.
        """
        served, seconds, ended = self._last.get(first.run, (0, 0.0, 0.0))
        mates = self._mates(first)
        wanted = _MOST * (served + sum(call.submitted < ended for call in mates))
        while (
            self._is_shared
            and not first.is_alone
            and 0 < len(mates) < wanted
            and _waiting(mates) < self._largest(mates)
            and (remaining := ended + seconds - time.monotonic()) > 0
        ):
            self._changed.wait(remaining)
            mates = self._mates(first)
        return mates

    def _mates(self, first: Call) -> list[Call]:
        """Return the calls that may share a batch with ``first``, including it, by priority."""
        if first.is_alone or not self._is_shared:
            return [first]
        alike = (call for call in self._calls if call.run == first.run and not call.is_alone)
        return sorted(alike, key=attrgetter("due"))

    def _room(self, mates: Sequence[Call]) -> int:
        """Return the maximum number of rows in the next batch of these calls."""
        if not any(call.must_fill for call in mates):
            return self._largest(mates)
        # Prefer a smaller batch to padding by more than half of the smallest size.
        small = self.sizes[0]
        return min(self._largest(mates), max(small, (_waiting(mates) + small // 2) // small * small))

    def _largest(self, mates: Sequence[Call]) -> int:
        first = mates[0]
        most = max(1, int(_SECONDS / self._rate(first.run, first.work)))
        if any(call.must_fill for call in mates):
            return next((size for size in reversed(self.sizes) if size <= most), self.sizes[0])
        if self._measured_rate(first.run) is None or not self._is_shared:  # a score may take much longer than decoding
            return 1
        return min(LARGEST_BATCH, most)

    def _serve(self, parts: list[tuple[Call, list[Any]]]) -> None:
        first = parts[0][0]
        rows = [row for _, part in parts for row in part]
        full = any(call.must_fill for call, _ in parts)
        size = next((size for size in self.sizes if size >= len(rows)), len(rows)) if full else len(rows)
        begun = time.perf_counter()
        try:
            results = first.context.run(first.run, self.model, rows, size)
        except Exception as error:
            if len(parts) == 1:
                _settle(first.future, error=error)
                return
            with self._changed:  # a single call may be at fault; retry each alone
                for call, part in parts:
                    call.taken -= len(part)
                    call.is_alone = True
            return
        seconds = time.perf_counter() - begun
        if full:
            self._on_batch(len(rows))
        start = 0
        for call, part in parts:
            call.results += results[start : start + len(part)]
            start += len(part)
        served = [call for call, _ in parts if len(call.results) == len(call.rows)]
        self._learn(first, len(served), size, seconds)
        for call in served:
            _settle(call.future, call.results)

    def _learn(self, call: Call, served: int, size: int, seconds: float) -> None:
        with self._changed:
            rate = seconds / (size * call.work)
            average = self._rates.get(call.run)
            self._rates[call.run] = rate if average is None else average + 0.2 * (rate - average)
            self._last[call.run] = (served, seconds, time.monotonic())


def _waiting(calls: Sequence[Call]) -> int:
    """Return the number of rows still to be computed."""
    return sum(len(call.rows) - call.taken for call in calls)


def _settle(future: "Future[Any]", value: Any = None, error: Exception | None = None) -> None:
    with suppress(InvalidStateError):  # cancelled meanwhile
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
