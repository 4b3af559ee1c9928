"""The only thread on which models compute: requests to draw share batches, and short requests overtake long ones."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pipeline.sampling import draw

T = TypeVar("T")

# A call is due this many times the seconds that its request has taken after the request's arrival, so that short
# requests overtake long ones and none starves. The first seconds are free: short ones are finished as they arrived.
_PATIENCE, _FREE_SECONDS = 10.0, 2.0
_BATCH_IMAGES, _BATCH_SECONDS = 64, 1.0  # of draws at once, which cannot be interrupted
_FIRST_SECONDS = 0.1  # of an image until it is measured
_GATHER = 0.05  # share of the last batch's duration to wait for its clients, which are likely to draw again


class ModelEndedError(RuntimeError):
    """The model's thread has ended, or the request was abandoned."""


@dataclass
class Ticket:
    """A request's place in the queue, shared by all its calls."""

    arrived: float = field(default_factory=time.monotonic)
    seconds: float = 0.0  # that its calls have taken
    share: float = 0.0  # of the restoration that is done
    is_abandoned: bool = False

    @property
    def due(self) -> float:
        """When its next call is due."""
        return self.arrived + _PATIENCE * max(0.0, self.seconds - _FREE_SECONDS)


TICKET: ContextVar[Ticket] = ContextVar("ticket")  # of the request that the current thread works for
Drawn = tuple[tuple[int, int] | None, GenerationSettings]  # what images that are drawn together have in common


@dataclass(eq=False)
class _Call:
    run: Callable[[], Any] | None  # None for draws
    ticket: Ticket
    drawn: Drawn | None = None
    seeds: list[int] = field(default_factory=list)
    given: Tensor | None = None
    images: list[Images] = field(default_factory=list)  # that are drawn
    is_alone: bool = False  # because a shared batch has failed
    future: "Future[Any]" = field(default_factory=Future)


class ModelThread:
    """Runs one call of a request after another, that which is due first."""

    def __init__(self, model: ImageModel) -> None:
        self._model = model
        self._calls: list[_Call] = []
        self._changed = threading.Condition()
        self._rates: dict[Any, float] = {}  # seconds per image of a size
        self._num_served = self._num_new = 0  # calls that the last turn ended, and those since
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
    def num_waiting(self) -> int:
        """Number of calls that wait or run."""
        return len(self._calls)

    def compute(self, run: Callable[[], T]) -> T:
        """Return what a function returns on the model's thread, for the request of this thread."""
        result: T = self.submit(run, TICKET.get()).result()
        return result

    def draw(
        self, seeds: Sequence[int], settings: GenerationSettings, given: Tensor | None, size: tuple[int, int] | None
    ) -> Images:
        """Return images, drawn together with those of other requests with the same settings."""
        call = _Call(None, TICKET.get(), (size, settings), list(seeds), given)
        images: list[Tensor] = self._submit(call).result()
        return Images(torch.stack(images), [fact for image in call.images for fact in image.facts])

    def run_steps(self, steps: Iterator[None], total: int, share: float = 1.0) -> Iterator[None]:
        """Yield the results of steps, such as those of a restoration, and note on the ticket what is done.

        The steps are a ``share`` of the work of the request.
        """
        step = torch.no_grad()(partial(next, steps, True))  # True after the last
        while not self.compute(step):
            TICKET.get().share += share / total
            yield

    def submit(self, run: Callable[[], Any], ticket: Ticket) -> "Future[Any]":
        """Queue a function; raise ModelEndedError if the thread has ended, or the request was abandoned."""
        return self._submit(_Call(run, ticket))

    def _submit(self, call: _Call) -> "Future[Any]":
        with self._changed:
            if self._is_closing or call.ticket.is_abandoned:
                raise ModelEndedError
            self._num_new += 1
            self._calls.append(call)
            self._changed.notify()
        return call.future

    def abandon(self, ticket: Ticket) -> None:
        """Drop the queued calls of a request."""
        with self._changed:
            ticket.is_abandoned = True
            self._finish([call for call in self._calls if call.ticket is ticket], ModelEndedError())

    def stop(self, seconds: float) -> None:
        """Drop all calls, and wait at most ``seconds`` for the thread to finish its current one."""
        self._close()
        self._thread.join(seconds)

    def _close(self) -> None:
        with self._changed:
            self._is_closing = True
            for call in self._calls:
                self._finish([call], ModelEndedError())  # one each, whose traceback is that of one request
            self._changed.notify()

    def _finish(self, calls: Sequence[_Call], outcome: Any) -> None:
        """Remove calls from the queue, and set their results: an exception, or else one result each."""
        with self._changed:
            self._calls = [call for call in self._calls if call not in calls]
            self._changed.notify()
        for number, call in enumerate(calls):
            with suppress(InvalidStateError):  # cancelled meanwhile
                if isinstance(outcome, Exception):
                    call.future.set_exception(outcome)
                else:
                    call.future.set_result(outcome[number])

    def _run(self) -> None:
        try:
            while not self._is_closing:
                with self._changed:
                    self._changed.wait_for(lambda: self._calls or self._is_closing)
                    self._changed.wait_for(lambda: self._num_new >= self._num_served, self._gather_seconds)
                    self._num_served = self._num_new = 0
                    calls = sorted(self._calls, key=lambda call: call.ticket.due)
                if calls:  # otherwise all were abandoned
                    self._serve(calls)
        finally:  # no request may wait forever, whatever went wrong
            self._close()

    def _serve(self, calls: list[_Call]) -> None:
        """Run the first call; if it draws, with those that draw alike."""
        first, begun = calls[0], time.perf_counter()
        parts = [] if first.drawn is None else self._batch(calls)
        try:
            results = [first.run()] if first.run else self._draw(parts)
        except Exception as error:
            if len(parts) < 2:
                self._finish([first], error)
            for call, _ in parts:  # any of them may have failed
                call.is_alone = True
            return
        self._gather_seconds = _GATHER * (seconds := time.perf_counter() - begun)
        if first.drawn is None:
            first.ticket.seconds += seconds
            self._finish([first], results)
            return
        rate = seconds / len(results)
        self._rates[first.drawn[0]] = rate + 0.8 * (self._rates.get(first.drawn[0], rate) - rate)
        for call, rows in parts:
            call.ticket.seconds += rate * len(call.seeds[rows])
            call.images += results[: len(call.seeds[rows])]
            del results[: len(call.seeds[rows])]
        done = [call for call, _ in parts if len(call.images) == len(call.seeds)]
        self._num_served = len(done)
        self._finish(done, [call.images for call in done])

    def _batch(self, calls: list[_Call]) -> list[tuple[_Call, slice]]:
        """Return the rows of the next batch by call."""
        first, batch = calls[0], []
        assert first.drawn is not None
        rate = self._rates.get(first.drawn[0])
        room = 1 if rate is None else min(_BATCH_IMAGES, max(1, int(_BATCH_SECONDS / rate)))
        alike = [each for each in calls if (each.drawn, each.given is None) == (first.drawn, first.given is None)]
        for call in [first] if first.is_alone else [each for each in alike if not each.is_alone]:
            rows = slice(len(call.images), min(len(call.images) + room, len(call.seeds)))
            room -= rows.stop - rows.start
            if rows.stop > rows.start:
                batch.append((call, rows))
        return batch

    def _draw(self, parts: Sequence[tuple[_Call, slice]]) -> list[Images]:
        assert parts[0][0].drawn is not None
        size, settings = parts[0][0].drawn
        seeds = [seed for call, rows in parts for seed in call.seeds[rows]]
        given = [
            call.given.expand(len(call.seeds), *call.given.shape[1:])[rows]
            for call, rows in parts
            if call.given is not None
        ]
        return list(draw(self._model, seeds, settings, torch.cat(given) if given else None, size).cpu())
