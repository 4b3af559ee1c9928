"""The worker: batches across requests, a bounded queue, and work that nobody waits for."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
import torch
from registry import tiny_model

from glow_app.model import ImageModel
from glow_app.server.errors import ApiError
from glow_app.server.worker import Job, ModelWorker, SampleJob


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_classes=4)


class Held:
    """A job that keeps the worker busy until it is let go."""

    def __init__(self, worker: ModelWorker) -> None:
        self._go, self._begun = threading.Event(), threading.Event()
        self.job = Job(self._wait)
        worker.submit(self.job)
        assert self._begun.wait(10)

    def _wait(self, _: ImageModel) -> str:
        self._begun.set()
        assert self._go.wait(30)
        return "held"

    def let_go(self) -> Any:
        self._go.set()
        return self.job.future.result(10)


Build = Callable[..., ModelWorker]


@pytest.fixture
def build(model: ImageModel) -> Build:
    def made(max_jobs: int = 8, **options: Any) -> ModelWorker:
        return ModelWorker(model, max_jobs, 4, **options)

    return made


def alone(model: ImageModel, seeds: range, temperature: list[float], label: int) -> torch.Tensor:
    """Return images as `glow sample` draws them: in full batches of 4."""
    labels = torch.full((4,), label)
    padded = [*seeds, *[seeds[-1]] * (4 - len(seeds))]
    return model.sample(4, temperature, padded, labels)[: len(seeds)]


def test_a_seed_gives_the_same_image_whoever_else_asks(model: ImageModel, build: Build) -> None:
    sizes: list[int] = []
    worker = build(on_batch=sizes.append)
    held = Held(worker)
    asked = [(range(3), [0.5, 0.9], 0), (range(7, 8), [1.0, 1.0], 1), (range(20, 25), [0.7, 0.0], 3)]
    jobs = [SampleJob(seeds, temperatures, [label] * len(seeds)) for seeds, temperatures, label in asked]
    for job in jobs:
        worker.submit(job)
    assert worker.depth == 4
    assert held.let_go() == "held"
    for job, (seeds, temperatures, label) in zip(jobs, asked, strict=True):
        found = torch.stack(job.future.result(10))
        parts = [alone(model, seeds[start : start + 4], temperatures, label) for start in range(0, len(seeds), 4)]
        assert torch.equal(found, torch.cat(parts))
    assert sizes == [4, 4, 1]


def test_the_queue_is_bounded(build: Build) -> None:
    worker = build(max_jobs=2)
    held = Held(worker)
    waiting = SampleJob([1], [0.7, 0.7], [0])
    worker.submit(waiting)
    with pytest.raises(ApiError) as raised:
        worker.submit(Job(lambda _: None))
    assert (raised.value.status, raised.value.code) == (503, "queue_full")
    assert raised.value.retry_after is not None
    assert raised.value.retry_after >= 1
    held.let_go()
    assert len(waiting.future.result(10)) == 1


def test_what_waits_is_given_up_at_once_and_what_runs_keeps_its_slot(build: Build) -> None:
    worker = build(max_jobs=2)
    held, waiting = Held(worker), SampleJob([1], [0.7, 0.7], [0])
    worker.submit(waiting)
    worker.abandon(waiting)
    assert worker.depth == 1
    worker.abandon(held.job)
    assert worker.depth == 1, "work goes on"
    after = SampleJob([2], [0.7, 0.7], [0])
    worker.submit(after)
    held.let_go()
    assert len(after.future.result(10)) == 1
    assert not waiting.future.done()


def test_images_of_an_abandoned_request_are_not_drawn_to_the_end(build: Build) -> None:
    sizes: list[int] = []
    worker: ModelWorker

    def after_a_batch(size: int) -> None:
        sizes.append(size)
        worker.abandon(job)

    worker = build(on_batch=after_a_batch)
    held, job = Held(worker), SampleJob(range(40), [0.7, 0.7], [0] * 40)
    worker.submit(job)
    held.let_go()
    last = SampleJob([1], [0.7, 0.7], [0])
    worker.submit(last)
    last.future.result(10)
    assert sizes[0] == 4
    assert sum(sizes) <= 9


def test_what_one_request_breaks_is_not_broken_for_others(model: ImageModel, build: Build) -> None:
    worker = build()
    held = Held(worker)
    good, bad = SampleJob([1], [0.7, 0.7], [2]), SampleJob([2], [0.7, float("nan")], [2])
    failing = Job(lambda _: 1 / 0)
    for job in (good, bad, failing):
        worker.submit(job)
    held.let_go()
    assert torch.equal(torch.stack(good.future.result(10)), alone(model, range(1, 2), [0.7, 0.7], 2))
    with pytest.raises(ValueError, match="temperature is nan"):
        bad.future.result(10)
    with pytest.raises(ZeroDivisionError):
        failing.future.result(10)


def test_a_stop_lets_work_finish_and_refuses_the_rest(build: Build) -> None:
    worker = build()
    held, waiting = Held(worker), SampleJob([1], [0.7, 0.7], [0])
    worker.submit(waiting)
    worker.check()
    worker.stop(seconds=0.05)
    for action in (worker.check, lambda: worker.submit(Job(lambda _: None))):
        with pytest.raises(ApiError, match="is stopping"):
            action()
    with pytest.raises(ApiError, match="is stopping"):
        waiting.future.result(10)
    with pytest.raises((ApiError, CancelledError)):
        held.let_go()


def test_what_is_done_before_the_end_of_a_stop_is_answered(build: Build) -> None:
    worker = build()
    held, waiting = Held(worker), SampleJob([1], [0.7, 0.7], [0])
    worker.submit(waiting)
    worker.stop(seconds=30)
    assert held.let_go() == "held"
    assert len(waiting.future.result(10)) == 1
