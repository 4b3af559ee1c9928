"""The worker: batches across requests, their order, and abandoned calls; the stand-in for a model and its cache."""

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, cast

import pytest
import torch
from app_client import wait_until
from busy_worker import BusyWorker
from registry import random_images, tiny_model

from glow_app import generation
from glow_app.bijections import record_solves
from glow_app.models.image_model import ImageModel
from glow_app.priors import CNFPrior, GaussianPrior
from glow_app.seeding import image_generators
from glow_app.server.shared_model import LatentsCache, SharedModel
from glow_app.server.worker import Call, ModelEndedError, ModelWorker, Ticket

ASKED: list[tuple[range, list[float], int, float]] = [
    (range(3), [0.5, 0.9], 0, 1.25),
    (range(7, 8), [1.0, 1.0], 1, 1.0),
    (range(20, 25), [0.7, 0.0], 3, 0.3),
]


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_classes=4)


@pytest.fixture
def worker(model: ImageModel) -> Iterator[ModelWorker]:
    worker = ModelWorker(model, 4)
    yield worker
    worker.stop(0)


def shared_model(model: ImageModel, worker: ModelWorker) -> ImageModel:
    return cast(ImageModel, SharedModel(model, worker, Ticket(), LatentsCache()))


def identity(_: ImageModel, rows: list[Any]) -> list[Any]:
    return rows


class Recorder:
    """Stands in for the model's work: returns the rows, and keeps those of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def __call__(self, _: ImageModel, rows: list[Any]) -> list[Any]:
        self.batches.append(rows)
        return rows


def test_images_do_not_depend_on_other_requests(model: ImageModel, worker: ModelWorker) -> None:
    def draw(seeds: range, temperature: list[float], label: int, guidance: float) -> torch.Tensor:
        return shared_model(model, worker).sample(len(seeds), temperature, seeds, label, guidance)

    busy = BusyWorker(worker, model)
    with ThreadPoolExecutor(3) as pool:
        drawn = [pool.submit(draw, *one) for one in ASKED]
        wait_until(lambda: len(worker._calls) == 4)
        busy.release()
    for images, (seeds, temperature, label, guidance) in zip(drawn, ASKED, strict=True):
        alone = generation.sample_batches(model, len(seeds), temperature, seeds[0], [label], 4, guidance)
        assert torch.equal(images.result(), torch.stack([image for _, image in alone]))


@pytest.mark.parametrize(
    ("prior", "given"),
    [
        (partial(CNFPrior, solver="rk4", eval_solver="rk4", num_steps=2, trace="hutchinson"), None),
        (GaussianPrior, torch.tensor([3, 1])),
    ],
)
def test_scores_equal_those_of_the_model(prior: Callable[..., Any], given: torch.Tensor | None) -> None:
    model, images = tiny_model(image_shape=(1, 8, 8), num_classes=4, prior=prior), random_images(2, (1, 8, 8))
    worker = ModelWorker(model, 4)
    found = []
    for each in (model, shared_model(model, worker)):
        with record_solves(image_generators([7, 8])):
            found.append(each.bits_table(images, given, 2, image_generators(range(2))).bits)
    torch.testing.assert_close(*found)
    worker.stop(0)


def test_calls_of_one_kind_share_a_batch(model: ImageModel, worker: ModelWorker) -> None:
    run = Recorder()
    busy = BusyWorker(worker, model)
    calls = [Call(run, model, [number] * 3, Ticket()) for number in range(4)]
    other = Call(identity, model, [9], Ticket())
    worker._rates[calls[0].kind] = 1e-3  # seconds per row
    for call in (*calls, other):
        worker.submit(call)
    busy.release()
    assert [call.future.result(60) for call in (*calls, other)] == [*([number] * 3 for number in range(4)), [9]]
    assert run.batches == [[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]]


def test_batches_take_about_a_second(model: ImageModel, worker: ModelWorker) -> None:
    run, unknown = Recorder(), Recorder()
    call = Call(run, model, [None] * 20, Ticket())
    worker._rates[call.kind] = 0.12  # seconds per row
    worker.submit(call)
    assert len(call.future.result(60)) == 20
    assert len(run.batches[0]) == 8
    slow = Call(unknown, model, [None] * 3, Ticket())
    worker.submit(slow)
    slow.future.result(60)
    assert len(unknown.batches[0]) == 1, "one row, to see how long it takes"


def test_small_calls_overtake_large_ones_without_starving_them(model: ImageModel, worker: ModelWorker) -> None:
    order: list[str] = []
    busy = BusyWorker(worker, model)
    calls = []
    for name, rows, arrived in (("large", 20, 0.0), ("medium", 10, 0.0), ("small", 1, 2.0), ("late", 1, 100.0)):

        def run(_: ImageModel, rows: list[Any], name: str = name) -> list[Any]:
            order.append(name)
            return rows

        call = Call(run, model, [None] * rows, Ticket(arrived))
        worker._rates[call.kind] = 0.04
        worker.submit(call)
        calls.append(call)
    busy.release()
    for call in calls:
        call.future.result(60)
    assert order == ["small", "medium", "large", "late"]


def test_only_calls_with_the_same_parts_share_a_batch(model: ImageModel, worker: ModelWorker) -> None:
    latents, context = model.encode(random_images(1), [1]), model.context([1], 1)
    assert isinstance(context, torch.Tensor)
    calls = [(context, None), (context, context)]  # without and with a change
    expected = [model.decode_with(latents, *call) for call in calls]
    shared = shared_model(model, worker)
    for call in calls:
        shared.decode_with(latents, *call)  # a kind of calls is batched once its rate is known
    busy = BusyWorker(worker, model)
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for call in calls:
            waiting.append(pool.submit(shared.decode_with, latents, *call))
            wait_until(lambda: len(worker._calls) == 1 + len(waiting))
        busy.release()
    assert not torch.equal(*expected)
    assert all(torch.equal(future.result(), each) for future, each in zip(waiting, expected, strict=True))


def test_a_failing_call_does_not_affect_others_in_its_batch(model: ImageModel, worker: ModelWorker) -> None:
    left = Ticket()

    def run(_: ImageModel, rows: list[Any]) -> list[Any]:
        if len(rows) > 1:
            worker.abandon(left)
        if "bad" in rows:
            raise ValueError("bad")
        return rows

    calls = {name: Call(run, model, [name], left if name == "gone" else Ticket()) for name in ("bad", "good", "gone")}
    worker._rates[calls["bad"].kind] = 1e-3
    busy = BusyWorker(worker, model)
    for call in calls.values():
        worker.submit(call)
    busy.release()
    assert calls["good"].future.result(60) == ["good"]
    with pytest.raises(ValueError, match="bad"):
        calls["bad"].future.result(60)
    with pytest.raises(ModelEndedError):
        calls["gone"].future.result(60)


def test_abandoned_calls_are_dropped(model: ImageModel, worker: ModelWorker) -> None:
    ticket, served = Ticket(), []

    def run(_: ImageModel, rows: list[Any]) -> list[Any]:
        served.append(len(rows))
        worker.abandon(ticket)
        return rows

    busy, waiting = BusyWorker(worker, model), Call(identity, model, [1], Ticket())
    worker.submit(waiting)
    worker.abandon(waiting.ticket)
    with pytest.raises(ModelEndedError):
        waiting.future.result(60)
    with pytest.raises(ModelEndedError):
        worker.submit(Call(identity, model, [1], waiting.ticket))
    begun = Call(run, model, [None] * 40, ticket)
    worker.submit(begun)
    busy.release()
    with pytest.raises(ModelEndedError):
        begun.future.result(60)
    after = Call(identity, model, [1], Ticket())
    worker.submit(after)
    assert after.future.result(60) == [1]
    assert served == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("dies", [True, False])
def test_all_calls_end_with_the_worker(dies: bool, model: ImageModel, worker: ModelWorker) -> None:
    def die(_: ImageModel, rows: list[Any]) -> list[Any]:
        raise SystemExit

    busy = BusyWorker(worker, model)
    calls = [Call(die if dies else identity, model, [None], Ticket(0.0)), Call(identity, model, [None], Ticket())]
    for call in calls:
        worker.submit(call)
    if not dies:
        stopping = threading.Thread(target=worker.stop, args=[30])
        stopping.start()
        with pytest.raises(ModelEndedError):
            calls[0].future.result(60)
        assert worker.is_alive, "until its batch is done"
        busy.released.set()
        stopping.join(60)
    else:
        busy.release()
    for call in calls:
        with pytest.raises(ModelEndedError):
            call.future.result(60)
    worker._thread.join(60)
    assert not worker.is_alive
    with pytest.raises(ModelEndedError):
        worker.submit(Call(identity, model, [None], Ticket()))


def test_pictures_are_encoded_only_once(
    model: ImageModel, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, encode = list[int](), model.encode

    def counted(images: torch.Tensor, labels: torch.Tensor | None) -> list[torch.Tensor]:
        sizes.append(len(images))
        return encode(images, labels)

    monkeypatch.setattr(model, "encode", counted)
    cache, images, labels = LatentsCache(), random_images(3), torch.tensor([0, 1, 2])
    shared = SharedModel(model, worker, Ticket(), cache)
    for _ in range(2):
        for ours, level in zip(shared.encode(images, labels), encode(images, labels), strict=True):
            torch.testing.assert_close(ours, level)
    assert sum(sizes) == 3
    shared.encode(images, labels.flip(0))  # of other classes
    assert sum(sizes) == 6
    monkeypatch.setattr("glow_app.server.shared_model.KEPT_SECONDS", -1)
    cache.expire()
    assert not cache._kept


def test_the_cache_is_bounded_and_knows_pictures_of_unknown_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.server.shared_model._BYTES", 3 * 16)
    cache, encoded = LatentsCache(), list[int]()

    def encode(number: int) -> list[torch.Tensor]:
        encoded.append(number)
        return [torch.full((4,), float(number))]

    def ask(number: int) -> None:
        (level,) = cache.get(torch.tensor([number]), torch.tensor([math.nan]), partial(encode, number))
        assert level[0] == number

    for number in (0, 1, 2, 0, 3, 4, 0, 3, 4, 1):
        ask(number)
    assert encoded == [0, 1, 2, 3, 4, 1]
