"""The one thread that uses the model: a bounded queue, and batches across requests."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from glow_app.model import ImageModel
from glow_app.server.errors import ApiError

__all__ = ["Job", "ModelWorker", "SampleJob", "stopping"]

Image = tuple[int, int | None]  # seed and label


class Job:
    """Work that runs whole.

    Args:
        work: What to do with the model.
    """

    def __init__(self, work: Callable[[ImageModel], Any] | None = None) -> None:
        self.work = work
        self.future: Future[Any] = Future()
        self.is_abandoned = False
        self.is_running = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, or nobody wants it any longer."""
        return self.is_abandoned or self.future.done()


class SampleJob(Job):
    """Images to draw, which may share batches with those of other requests.

    Args:
        seeds: One an image.
        temperatures: One a level.
        labels: One an image, or None.
    """

    def __init__(self, seeds: Sequence[int], temperatures: Sequence[float], labels: Sequence[int] | None) -> None:
        super().__init__()
        self.temperatures = list(temperatures)
        self.waiting: deque[Image] = deque(
            (seed, None if labels is None else labels[number]) for number, seed in enumerate(seeds)
        )
        self.images: list[Tensor] = []


Share = tuple[SampleJob, list[Image]]  # what a batch holds of a job


class ModelWorker:
    """Runs jobs one after another, the oldest first; what the model gives for a seed never depends on who else asks.

    Batches for drawing are always of one size, filled up with images that nobody gets, since the last bit of a
    convolution may depend on it.

    Args:
        model: To use.
        max_jobs: That wait or run.
        batch_size: Images drawn at a time.
        on_batch: Called with the number of images that were asked for of each batch.
    """

    def __init__(
        self, model: ImageModel, max_jobs: int, batch_size: int, on_batch: Callable[[int], None] = lambda _: None
    ) -> None:
        self._model, self._max_jobs, self._batch_size, self._on_batch = model, max_jobs, batch_size, on_batch
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._seconds_a_step = 0.1
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """How many jobs wait or run."""
        return len(self._jobs)

    def check(self) -> None:
        """Raise if no jobs are taken.

        Raises:
            ApiError: If so: 503.
        """
        if self._is_stopping or not self._thread.is_alive():
            raise stopping()

    def submit(self, job: Job) -> None:
        """Take a job.

        Raises:
            ApiError: If the queue is full, or the worker is stopping.
        """
        with self._changed:
            if self._is_stopping:
                raise stopping()
            if len(self._jobs) >= self._max_jobs:
                after = max(1, round(self._seconds_a_step * len(self._jobs)))
                raise ApiError(503, "queue_full", f"{len(self._jobs)} requests are waiting; come again", after)
            self._jobs.append(job)
            self._changed.notify()

    def abandon(self, job: Job) -> None:
        """Let go of a job whose answer nobody waits for; a slot is free once no work is done for it."""
        with self._changed:
            job.is_abandoned = True
            if job in self._jobs and not job.is_running:
                self._jobs.remove(job)

    def stop(self, seconds: float) -> None:
        """Take no more jobs, and refuse in some seconds those that are not done by then."""
        self._is_stopping = True
        timer = threading.Timer(seconds, self._refuse_all)
        timer.daemon = True
        timer.start()

    def _refuse_all(self) -> None:
        with self._changed:
            for job in self._jobs:
                _settle(job.future, error=stopping())

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                first = self._jobs[0]
                first.is_running = True
            begun = time.perf_counter()
            if isinstance(first, SampleJob):
                self._draw()
            else:
                self._work(first)
            with self._changed:
                seconds = time.perf_counter() - begun
                self._seconds_a_step += 0.1 * (seconds - self._seconds_a_step)
                self._jobs = deque(job for job in self._jobs if not job.is_over)

    def _work(self, job: Job) -> None:
        assert job.work is not None
        try:
            _settle(job.future, job.work(self._model))
        except Exception as error:
            _settle(job.future, error=error)
        with self._changed:
            job.is_running = False

    def _draw(self) -> None:
        """Draw one batch: images of the oldest job, and as many of others as there is room for."""
        shares: list[Share] = []
        with self._changed:
            room = self._batch_size
            for job in self._jobs:
                if isinstance(job, SampleJob) and not job.is_over and room:
                    shares.append((job, [job.waiting.popleft() for _ in range(min(room, len(job.waiting)))]))
                    room -= len(shares[-1][1])
                    job.is_running = True
        if shares:
            self._draw_together(shares)
        with self._changed:
            for job, _ in shares:
                job.is_running = False

    def _draw_together(self, shares: list[Share]) -> None:
        try:
            images = self._decode([(image, job.temperatures) for job, part in shares for image in part])
        except Exception as error:
            if len(shares) == 1:
                _settle(shares[0][0].future, error=error)
                return
            # What one of them asks for may be impossible, which is not the fault of the others.
            for share in shares:
                self._draw_together([share])
            return
        self._on_batch(len(images))
        for job, part in shares:
            job.images += images[: len(part)]
            images = images[len(part) :]
            if not job.waiting:
                _settle(job.future, job.images)

    @torch.no_grad()
    def _decode(self, rows: list[tuple[Image, list[float]]]) -> list[Tensor]:
        filled = rows + [rows[-1]] * (self._batch_size - len(rows))
        noise = [self._model.base_noise([seed], temperatures) for (seed, _), temperatures in filled]
        labels = [label for (_, label), _ in filled if label is not None]
        together = [torch.cat(level) for level in zip(*noise, strict=True)]
        return list(self._model.decode(together, torch.tensor(labels) if labels else None).cpu()[: len(rows)])


def stopping() -> ApiError:
    """Return the error of a server that stops."""
    return ApiError(503, "stopping", "the server is stopping; come again", 5)


def _settle(future: "Future[Any]", value: Any = None, error: Exception | None = None) -> None:
    # The timer of a stop may have been first, or nobody may wait any longer.
    with suppress(InvalidStateError):
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
