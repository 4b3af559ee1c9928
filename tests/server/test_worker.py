"""The worker: batches across requests, their order, and abandoned calls; the model of the requests and its cache."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from app_client import wait_until
from busy_worker import BusyWorker
from registry import random_images, same_pictures, tiny_model

from glow_app.bijections import record_solves
from glow_app.conditioning import AttributeConditioning
from glow_app.generation import edit_attributes
from glow_app.generation.loaded_model import LoadedModel
from glow_app.generation.sampling import draw
from glow_app.pictures.image_batch import Images
from glow_app.priors import CNFPrior, GaussianPrior
from glow_app.seeding import image_generators
from glow_app.server.queued_model import Cache, QueuedModel
from glow_app.server.worker import TICKET, Call, ModelEndedError, ModelWorker, Ticket


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model(num_classes=4)


@pytest.fixture
def worker() -> Iterator[ModelWorker]:
    worker = ModelWorker()
    TICKET.set(Ticket())
    yield worker
    worker.stop(0)


def identity(rows: list[Any]) -> list[Any]:
    return rows


class Recorder:
    """Stands in for the model's work: returns the rows, and keeps those of each batch."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def __call__(self, rows: list[Any]) -> list[Any]:
        self.batches.append(rows)
        return rows


def test_requests_with_equal_settings_share_a_batch_of_as_many_draws_as_they_ask_for(
    model: LoadedModel, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()

    def counted(model: LoadedModel, seeds: list[int], *arguments: Any) -> Images:
        sizes.append(len(seeds))
        return draw(model, seeds, *arguments)

    monkeypatch.setattr("glow_app.server.queued_model.draw", counted)
    queued = QueuedModel(model, worker)

    def drawn_for(seeds: range, guidance: float, given: int) -> Images:
        TICKET.set(Ticket())
        return queued.sample(len(seeds), [0.5, 0.9], seeds, given, guidance)

    drawn_for(range(1), 1.0, 0)  # a kind of calls is batched once its rate is known
    worker._rates = dict.fromkeys(worker._rates, 1e-3)
    busy = BusyWorker(worker)
    asked = [(range(3), 1.25, 0), (range(7, 8), 1.25, 1), (range(20, 25), 1.25, 3), (range(2), 0.3, 3)]
    with ThreadPoolExecutor(len(asked)) as pool:
        drawn = []
        for request in asked:
            drawn.append(pool.submit(drawn_for, *request))
            wait_until(lambda: len(worker._calls) == 1 + len(drawn))
        busy.release()
    assert sorted(sizes) == [1, 2, 9]
    for images, (seeds, guidance, given) in zip(drawn, asked, strict=True):
        expected = model.sample(len(seeds), [0.5, 0.9], seeds, given, guidance)
        assert same_pictures(images.result(), expected)
        assert images.result().facts == expected.facts


@pytest.mark.parametrize(
    ("prior", "given"),
    [
        (partial(CNFPrior, solver="rk4", eval_solver="rk4", num_steps=2, trace="hutchinson"), None),
        (GaussianPrior, torch.tensor([3, 1])),
    ],
)
def test_scores_equal_those_of_the_model(
    prior: Callable[..., Any], given: torch.Tensor | None, worker: ModelWorker
) -> None:
    model, images = tiny_model(image_shape=(1, 8, 8), num_classes=4, prior=prior), random_images(2, (1, 8, 8))
    found = []
    for each in (model, QueuedModel(model, worker)):
        with record_solves(image_generators([7, 8])):
            found.append(each.bits_table(images, given, 2, image_generators(range(2))).bits)
    torch.testing.assert_close(*found)


def test_batches_take_about_a_second(worker: ModelWorker) -> None:
    run, unknown = Recorder(), Recorder()
    call = Call(run, [None] * 20, Ticket())
    worker._rates[call.kind] = 0.12  # seconds per row
    worker.submit(call)
    assert len(call.future.result(60)) == 20
    assert len(run.batches[0]) == 8
    slow = Call(unknown, [None] * 3, Ticket())
    worker.submit(slow)
    slow.future.result(60)
    assert len(unknown.batches[0]) == 1, "one row, to see how long it takes"


def test_small_calls_overtake_large_ones_without_starving_them(worker: ModelWorker) -> None:
    order: list[str] = []
    busy = BusyWorker(worker)
    calls = []
    for name, rows, arrived in (("large", 20, 0.0), ("medium", 10, 0.0), ("small", 1, 2.0), ("late", 1, 100.0)):

        def run(rows: list[Any], name: str = name) -> list[Any]:
            order.append(name)
            return rows

        call = Call(run, [None] * rows, Ticket(arrived))
        worker._rates[call.kind] = 0.04
        worker.submit(call)
        calls.append(call)
    busy.release()
    for call in calls:
        call.future.result(60)
    assert order == ["small", "medium", "large", "late"]


def test_of_equal_requests_the_first_is_finished_before_the_last_begins(worker: ModelWorker) -> None:
    order: list[str] = []
    busy = BusyWorker(worker)

    def encode(rows: list[str]) -> list[str]:
        order.extend(f"encode {name}" for name in rows)
        return rows

    def decode(rows: list[str]) -> list[str]:
        order.extend(f"decode {name}" for name in rows)
        return rows

    decoded = []
    for number, name in enumerate("abc"):
        ticket = Ticket(0.01 * number)
        call, then = Call(encode, [name], ticket), Call(decode, [name], ticket)
        worker._rates |= {call.kind: 1.0, then.kind: 1.0}  # so that each is a batch
        call.future.add_done_callback(lambda _, then=then: worker.submit(then))  # type: ignore[misc]
        worker.submit(call)
        decoded.append(then.future)
    busy.release()
    for future in decoded:
        future.result(60)
    assert order == ["encode a", "decode a", "encode b", "decode b", "encode c", "decode c"]


def test_only_calls_with_the_same_parts_share_a_batch(model: LoadedModel, worker: ModelWorker) -> None:
    latents, context = model.encode(random_images(1), [1]), model.context(torch.tensor([1]), 1)
    assert isinstance(context, torch.Tensor)
    calls = [(context, None), (context, context)]  # without and with a change
    expected = [model.decode_with(latents, *call) for call in calls]
    queued = QueuedModel(model, worker)

    def decode(context: torch.Tensor, change: torch.Tensor | None) -> Images:
        TICKET.set(Ticket())
        return queued.decode_with(latents, context, change)

    for call in calls:
        decode(*call)  # a kind of calls is batched once its rate is known
    busy = BusyWorker(worker)
    with ThreadPoolExecutor(2) as pool:
        waiting = []
        for call in calls:
            waiting.append(pool.submit(decode, *call))
            wait_until(lambda: len(worker._calls) == 1 + len(waiting))
        busy.release()
    assert not torch.equal(*expected)
    assert all(torch.equal(future.result(), each) for future, each in zip(waiting, expected, strict=True))


def test_a_failing_call_does_not_affect_others_in_its_batch(worker: ModelWorker) -> None:
    left = Ticket()

    def run(rows: list[Any]) -> list[Any]:
        if len(rows) > 1:
            worker.abandon(left)
        if "bad" in rows:
            raise ValueError("bad")
        return rows

    calls = {name: Call(run, [name], left if name == "gone" else Ticket()) for name in ("bad", "good", "gone")}
    worker._rates[calls["bad"].kind] = 1e-3
    busy = BusyWorker(worker)
    for call in calls.values():
        worker.submit(call)
    busy.release()
    assert calls["good"].future.result(60) == ["good"]
    with pytest.raises(ValueError, match="bad"):
        calls["bad"].future.result(60)
    with pytest.raises(ModelEndedError):
        calls["gone"].future.result(60)


def test_abandoned_calls_are_dropped(worker: ModelWorker) -> None:
    ticket, served = Ticket(), []

    def run(rows: list[Any]) -> list[Any]:
        served.append(len(rows))
        worker.abandon(ticket)
        return rows

    busy, waiting = BusyWorker(worker), Call(identity, [1], Ticket())
    worker.submit(waiting)
    worker.abandon(waiting.ticket)
    with pytest.raises(ModelEndedError):
        waiting.future.result(60)
    with pytest.raises(ModelEndedError):
        worker.submit(Call(identity, [1], waiting.ticket))
    begun = Call(run, [None] * 40, ticket)
    worker.submit(begun)
    busy.release()
    with pytest.raises(ModelEndedError):
        begun.future.result(60)
    after = Call(identity, [1], Ticket())
    worker.submit(after)
    assert after.future.result(60) == [1]
    assert served == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("dies", [True, False])
def test_all_calls_end_with_the_worker(dies: bool, worker: ModelWorker) -> None:
    def die(rows: list[Any]) -> list[Any]:
        raise SystemExit

    busy = BusyWorker(worker)
    calls = [Call(die if dies else identity, [None], Ticket(0.0)), Call(identity, [None], Ticket())]
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
        worker.submit(Call(identity, [None], Ticket()))


def test_pictures_are_encoded_only_once(
    model: LoadedModel, worker: ModelWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, encode = list[int](), model.encode

    def counted(images: torch.Tensor, labels: torch.Tensor | None) -> list[torch.Tensor]:
        sizes.append(len(images))
        return encode(images, labels)

    monkeypatch.setattr(model, "encode", counted)
    queued, images, labels = QueuedModel(model, worker), random_images(3), torch.tensor([0, 1, 2])
    for _ in range(2):
        for ours, level in zip(queued.encode(images, labels), encode(images, labels), strict=True):
            torch.testing.assert_close(ours, level)
    assert sum(sizes) == 3
    queued.encode(images, labels.flip(0))  # of other classes
    assert sum(sizes) == 6
    monkeypatch.setattr("glow_app.server.queued_model.KEPT_SECONDS", -1)
    queued.cache.expire()
    assert not queued.cache._kept
    queued = QueuedModel(tiny_model(conditioning=AttributeConditioning({"hat": "yes_no"}, 4)), worker)
    unknown = torch.full((3, 1), float("nan"))
    assert queued.encode(images, unknown) is queued.encode(images, unknown)


def test_where_an_attribute_acts_is_decoded_only_once(worker: ModelWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    conditioning = AttributeConditioning({"hat": "yes_no", "age": "real"}, 4)
    model, decoded = tiny_model(conditioning=conditioning), list[int]()
    images, decode_values = random_images(1), model.decode_values

    def counted(latents: list[torch.Tensor], context: torch.Tensor) -> torch.Tensor:
        decoded.append(len(context))
        return decode_values(latents, context)

    queued, known = QueuedModel(model, worker), {"hat": 0, "age": 0.4}
    for changes in ({"age": 0.5}, {"age": 0.3}, {"hat": 1, "age": 0.6}):
        moves = [({**changes, "age": changes["age"] + by}, strength) for by in (0, 0.05) for strength in (0.6, 1.2)]
        expected = [edit_attributes(model, images, to, known, strength) for to, strength in moves]
        with monkeypatch.context() as patch:
            patch.setattr(model, "decode_values", counted)
            for (to, strength), edited in zip(moves, expected, strict=True):
                assert same_pictures(edit_attributes(queued, images, to, known, strength), edited)
    assert sum(decoded) == 2 + 2 + 3


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.server.queued_model._BYTES", 3 * 16)
    cache, computed = Cache(), list[int]()
    for number in (0, 1, 2, 0, 3, 4, 0, 3, 4, 1):
        key = bytes([number])
        if cache.find(key) is None:
            computed.append(number)
            cache.keep(key, number, 16)
        assert cache.find(key) == number
    assert computed == [0, 1, 2, 3, 4, 1]
