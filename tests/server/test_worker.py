"""The worker: batches across requests, the order in which calls are served, and work that nobody waits for."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import pytest
import torch
from registry import random_images, tiny_model

from glow_app import generation
from glow_app.bijections import record_solves
from glow_app.models.image_model import ImageModel
from glow_app.priors import CNFPrior, GaussianPrior
from glow_app.seeding import image_generators
from glow_app.server import shared
from glow_app.server.calls import Call, Turn
from glow_app.server.latents_cache import _OBJECT, KEPT_SECONDS, LatentsCache
from glow_app.server.shared import SharedModel, sample_call
from glow_app.server.worker import ModelEndedError, ModelWorker

Build = Callable[..., ModelWorker]


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_classes=4)


@pytest.fixture
def build(model: ImageModel) -> Iterator[Build]:
    workers = []

    def made(**options: Any) -> ModelWorker:
        workers.append(ModelWorker(model, 4, **options))
        worker = workers[-1]
        worker._measured_rate = lambda run: worker._rates.get(run, 1e-3)  # type: ignore[method-assign]
        return worker

    yield made
    for worker in workers:
        worker.close()


class Held:
    """A call that keeps the worker busy until it is let go."""

    def __init__(self, worker: ModelWorker) -> None:
        self._go, begun = threading.Event(), threading.Event()

        def wait(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
            begun.set()
            assert self._go.wait(30)
            return ["held"]

        self.call = Call(wait, [None], Turn())
        worker.submit(self.call)
        assert begun.wait(10)

    def let_go(self) -> Any:
        self._go.set()
        return self.call.future.result(10)


def drawn(worker: ModelWorker, seeds: range, temperatures: list[float], label: int, guidance: float = 1.0) -> Call:
    call = sample_call(seeds, temperatures, [label] * len(seeds), Turn(), guidance)
    worker.submit(call)
    return call


def alone(
    model: ImageModel, seeds: range, temperatures: list[float], label: int, guidance: float = 1.0
) -> torch.Tensor:
    """Return images as `glow sample` draws them: in full batches of 4."""
    parts = [list(seeds[start : start + 4]) for start in range(0, len(seeds), 4)]
    labels = torch.full((4,), label)
    images = [model.sample(4, temperatures, [*p, *[p[-1]] * (4 - len(p))], labels, guidance) for p in parts]
    return torch.cat([part[: len(p)] for part, p in zip(images, parts, strict=True)])


def test_a_seed_gives_the_same_image_whoever_else_asks(model: ImageModel, build: Build) -> None:
    sizes: list[int] = []
    worker = build(on_batch=sizes.append)
    worker.sizes = [4]
    held = Held(worker)
    asked = [
        (range(3), [0.5, 0.9], 0, 1.25),
        (range(7, 8), [1.0, 1.0], 1, 1.0),
        (range(20, 25), [0.7, 0.0], 3, 0.3),
    ]
    calls = [drawn(worker, *one) for one in asked]
    assert held.let_go() == ["held"]
    for call, one in zip(calls, asked, strict=True):
        assert torch.equal(torch.stack(call.future.result(10)), alone(model, *one))
    assert sizes == [4, 4, 1]


def test_larger_batches_are_used_where_they_give_the_same_images(model: ImageModel, build: Build) -> None:
    sizes: list[int] = []
    worker = build(on_batch=sizes.append)
    worker.sizes = [4, 8, 12]
    held = Held(worker)
    asked = [(range(5), [0.5, 0.9], 0), (range(7, 8), [1.0, 1.0], 1), (range(20, 25), [0.7, 0.0], 3)]
    calls = [drawn(worker, *one) for one in asked]
    held.let_go()
    for call, one in zip(calls, asked, strict=True):
        assert (torch.stack(call.future.result(10)).short() - alone(model, *one).short()).abs().max() <= 1
    assert sizes == [11]


@pytest.mark.parametrize("is_frozen", [False, True])
def test_sizes_that_change_a_bit_are_not_used(is_frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().freeze() if is_frozen else tiny_model()
    with torch.no_grad():
        flow = model.fastest_flow
    assert (flow is not model.flow) == is_frozen
    decode, offered = flow.decode, ModelWorker(model, 4).sizes
    assert offered[0] == 4
    monkeypatch.setattr(flow, "decode", lambda z, context=None: decode(z, context) * (1 + 1e-7 * (len(z[0]) > 8)))
    assert set(ModelWorker(model, 4).sizes) <= {4, 8}


def test_calls_of_requests_are_those_of_the_model(model: ImageModel, build: Build) -> None:
    worker, images, labels = build(), random_images(5), torch.tensor([0, 1, 2, 3, 0])
    shared = cast(ImageModel, SharedModel(worker, Turn()))
    expected = model.encode(images, labels)
    for found, level in zip(shared.encode(images, labels), expected, strict=True):
        torch.testing.assert_close(found, level)
    assert torch.equal(shared.decode(expected, labels), images)
    for given in (None, labels):
        bits = [one.bits_table(images, given, 3, image_generators(range(5))).bits for one in (shared, model)]
        torch.testing.assert_close(*bits)
    assert torch.equal(generation.infer_labels(shared, images), generation.infer_labels(model, images))
    for guidance in (1.0, 1.5):
        drawn_by = [one.sample(3, 0.7, 5, labels[:3], guidance) for one in (shared, model)]
        assert torch.equal(*drawn_by)


@pytest.mark.parametrize(
    "prior", [GaussianPrior, partial(CNFPrior, solver="rk4", eval_solver="rk4", trace="hutchinson")]
)
@pytest.mark.parametrize("given", [None, torch.tensor([3, 1])])
def test_scores_come_in_small_pieces(
    prior: Callable[..., Any], given: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(image_shape=(1, 8, 8), num_classes=4, prior=prior)
    images, pieces, level_bits = random_images(2, (1, 8, 8)), [], model.dequantised_level_bits
    generator = image_generators(range(2))
    with record_solves(image_generators([7, 8])):
        expected = model.bits_table(images, given, 5, generator).bits

    def watched(y: torch.Tensor, labels: torch.Tensor | None) -> Any:
        pieces.append(len(y))
        return level_bits(y, labels)

    monkeypatch.setattr(model, "dequantised_level_bits", watched)
    monkeypatch.setattr(shared, "_ROWS", 6)
    worker = ModelWorker(model, 4)
    monkeypatch.setattr(worker, "_measured_rate", lambda run: 0.3)  # seconds per row
    ours = image_generators(range(2))
    with record_solves(image_generators([7, 8])):
        found = SharedModel(worker, Turn()).bits_table(images, given, 5, ours).bits
    torch.testing.assert_close(found, expected)
    assert torch.equal(ours.get_state(), generator.get_state())
    assert max(pieces) <= 3
    assert sum(pieces) == 5 * 2 * (4 if given is None else 1)
    worker.close()


def test_batches_of_a_slow_model_are_small(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn_sizes: list[int] = []
    worker = build(on_batch=drawn_sizes.append)
    worker.sizes = [4, 8, 12]
    monkeypatch.setattr(worker, "_measured_rate", lambda run: 0.12)  # seconds per image
    held = Held(worker)
    sizes: list[int] = []
    call = Call(lambda _, rows, size: sizes.append(size) or rows, [None] * 20, Turn())  # type: ignore[func-returns-value]
    worker.submit(call)
    images = drawn(worker, range(12), [0.7, 0.7], 0)
    held.let_go()
    assert len(call.future.result(10)) == 20
    assert len(images.future.result(10)) == 12
    assert sizes == [8, 8, 4]
    assert drawn_sizes == [8, 4]


def test_a_model_is_timed_before_its_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    sample = model.sample

    def slow(*arguments: Any, **options: Any) -> torch.Tensor:
        time.sleep(0.1)
        return sample(*arguments, **options)

    monkeypatch.setattr(model, "sample", slow)
    worker = ModelWorker(model, 4)
    assert worker._rate(lambda model, rows, size: rows, 3) >= 0.3
    worker.close()


def test_the_first_batch_is_one_row_and_tells_how_fast_the_model_is(model: ImageModel) -> None:
    worker = ModelWorker(model, 4)
    sizes: list[int] = []

    def slow(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
        sizes.append(len(rows))
        time.sleep(0.6 * len(rows))
        return rows

    call = Call(slow, [None] * 3, Turn())
    worker.submit(call)
    call.future.result(10)
    assert sizes == [1, 1, 1]
    assert worker._rate(call.run) >= 0.6
    worker.close()


def test_a_stopped_worker_ends_with_its_batch(build: Build) -> None:
    worker = build()
    held = Held(worker)
    waiting = drawn(worker, range(8), [0.7, 0.7], 0)
    stopping = threading.Thread(target=worker.stop, args=[30])
    stopping.start()
    with pytest.raises(ModelEndedError):
        waiting.future.result(10)
    assert worker.is_alive
    with pytest.raises(ModelEndedError):
        held.let_go()
    stopping.join(10)
    assert not stopping.is_alive()
    assert not worker.is_alive
    with pytest.raises(ModelEndedError):
        drawn(worker, range(1), [0.7, 0.7], 0)


def test_rows_of_other_work_take_other_times(build: Build) -> None:
    worker = build()

    def slow(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
        time.sleep(0.3)
        return rows

    call = Call(slow, [None], Turn(), work=30)
    worker.submit(call)
    call.future.result(10)
    assert worker._rate(slow, 30) >= 0.3
    assert worker._rate(slow, 1) <= 0.03 + 0.2 / 30, "a late return is divided too"
    held, waiting = Held(worker), Call(slow, [None] * 100, Turn(), work=2)
    worker.submit(waiting)
    assert worker._largest([waiting]) == int(1.0 / worker._rate(waiting.run, waiting.work))
    worker.abandon(waiting.turn)
    held.let_go()


def test_a_call_that_shares_no_batch_is_not_kept_waiting_for_others(build: Build) -> None:
    worker = build()

    def slow(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
        time.sleep(1.0 if len(ran) == 0 else 0)
        ran.append(time.monotonic())
        return rows

    ran: list[float] = []
    calls = [Call(slow, [None], Turn(), work=work, is_alone=True) for work in (100, 1)]
    for call in calls:  # the second while the first is served
        worker.submit(call)
    for call in calls:
        call.future.result(10)
    assert ran[1] - ran[0] < 0.5


def test_calls_of_a_batch_that_failed_wait_their_turn_alone(build: Build) -> None:
    worker, ran = build(), []
    held, left = Held(worker), Turn()

    def run(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
        ran.append(rows)
        if len(rows) > 1:
            worker.abandon(left)
        if "bad" in rows:
            raise ValueError("bad")
        return rows

    bad, good, gone = (
        Call(run, [name], turn) for name, turn in zip(["bad", "good", "gone"], [Turn(), Turn(), left], strict=True)
    )
    for call in (bad, good, gone):
        worker.submit(call)
    held.let_go()
    assert good.future.result(10) == ["good"]
    with pytest.raises(ValueError, match="bad"):
        bad.future.result(10)
    assert sorted(tuple(sorted(rows)) for rows in ran) == [("bad",), ("bad", "gone", "good"), ("good",)]


def test_requests_share_batches_of_each_kind(model: ImageModel, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    encode = model.encode

    def counted(images: torch.Tensor, labels: torch.Tensor | None) -> list[torch.Tensor]:
        sizes.append(len(images))
        return encode(images, labels)

    monkeypatch.setattr(model, "encode", counted)
    worker = build()
    held = Held(worker)
    images, labels = random_images(3), torch.tensor([0, 1, 2])
    threads = [
        threading.Thread(target=SharedModel(worker, Turn()).encode, args=(images, labels), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while len(worker._calls) < 5:
        assert all(thread.is_alive() for thread in threads)
    held.let_go()
    for thread in threads:
        thread.join(10)
    assert sizes == [12]


def test_pictures_that_were_encoded_are_not_encoded_again(
    model: ImageModel, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, sizes, encode = [0.0], list[int](), model.encode

    def counted(images: torch.Tensor, labels: torch.Tensor | None) -> list[torch.Tensor]:
        sizes.append(len(images))
        return encode(images, labels)

    monkeypatch.setattr(model, "encode", counted)
    cache, worker = LatentsCache(lambda: now[0]), build()
    images, labels = random_images(3), torch.tensor([0, 1, 2])
    expected = encode(images, labels)

    def encoded(*numbers: int) -> None:
        chosen = list(numbers)
        found = SharedModel(worker, Turn(), cache).encode(images[chosen], labels[chosen])
        for level, whole in zip(found, expected, strict=True):
            torch.testing.assert_close(level, whole[chosen])
        now[0] += 1

    encoded(0, 1)
    encoded(1, 2, 0)
    assert sizes == [2, 1]
    SharedModel(worker, Turn(), cache).encode(images[:1], labels[1:2])  # of another class
    assert sizes == [2, 1, 1]
    now[0] = KEPT_SECONDS + 1.5
    cache.expire()
    # Used at 2 s, the others at 1 s; and no picture is kept.
    assert cache._kept.keys() == {(hashlib.sha256(images[0].numpy().tobytes()).digest(), 1)}


def test_few_bytes_of_latents_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.server.latents_cache._BYTES", 3 * (16 + _OBJECT))
    cache = LatentsCache()
    rows = [(torch.full((1, 1, 2, 2), number, dtype=torch.uint8), None) for number in range(5)]
    latents = torch.arange(20.0).reshape(5, 1, 2, 2)
    cache.put(rows[:3], [(one,) for one in latents[:3].split(1)])
    cache.get(rows[:1])
    cache.put(rows[3:], [(one,) for one in latents[3:].split(1)])
    found = cache.get(rows)
    assert [one is None for one in found] == [False, True, True, False, False]
    assert found[4] is not None
    assert torch.equal(found[4][0], latents[4:])
    assert found[4][0].untyped_storage().nbytes() == 16  # and not the whole batch


def test_a_batch_waits_a_little_for_those_that_the_last_one_served(model: ImageModel, build: Build) -> None:
    sizes: list[int] = []
    worker = build(on_batch=sizes.append)
    held = Held(worker)
    first = drawn(worker, range(1), [0.7, 0.7], 0)
    worker._last[first.run] = (3, 30.0, time.monotonic())  # calls, seconds and end of the last batch of its kind
    held.let_go()
    others = [drawn(worker, range(number, number + 1), [0.7, 0.7], 0) for number in (1, 2, 3)]
    assert all(len(call.future.result(10)) == 1 for call in (first, *others))
    assert sizes == [4]


def test_a_call_given_up_while_its_batch_waits_for_more_ends_nothing(build: Build) -> None:
    worker, waits = build(), threading.Event()
    call = Call(lambda _, rows, size: rows, [1], Turn())
    worker._last[call.run] = (100, 20.0, time.monotonic())  # as if the last batch had served many, and slowly
    mates = worker._mates

    def watched(first: Call) -> list[Call]:
        waits.set()
        return mates(first)

    worker._mates = watched  # type: ignore[method-assign]
    worker.submit(call)
    assert waits.wait(10)
    worker.abandon(call.turn)  # takes the lock, which the worker gives up only where it waits for more
    other = Call(lambda _, rows, size: rows, [2], Turn())
    worker.submit(other)
    assert other.future.result(10) == [2]


def test_a_small_call_overtakes_large_ones_and_none_waits_for_ever(build: Build) -> None:
    worker, order, now = build(), [], 0.0
    held = Held(worker)

    def ask(name: str, rows: int) -> Call:
        def run(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
            order.append(name)
            return rows

        worker._rates[run] = 0.04
        call = Call(run, [None] * rows, Turn(arrived=now))
        worker.submit(call)
        return call

    calls = [ask("large", 20), ask("medium", 10)]
    now = 2.0
    calls.append(ask("small", 1))
    now = 100.0
    calls.append(ask("late", 1))
    held.let_go()
    for call in calls:
        call.future.result(10)
    assert order == ["small", "medium", "large", "late"]


def test_what_waits_is_given_up_at_once(build: Build) -> None:
    worker = build()
    held, waiting = Held(worker), drawn(worker, range(1), [0.7, 0.7], 0)
    before = worker.backlog
    worker.abandon(waiting.turn)
    assert worker.backlog < before
    with pytest.raises(ModelEndedError):
        waiting.future.result(10)
    with pytest.raises(ModelEndedError):
        worker.submit(Call(waiting.run, waiting.rows, waiting.turn))
    after = drawn(worker, range(2, 3), [0.7, 0.7], 0)
    held.let_go()
    assert len(after.future.result(10)) == 1


def test_a_call_without_rows_is_refused(build: Build) -> None:
    with pytest.raises(ValueError, match="a call has no rows; expected at least one"):
        build().submit(Call(lambda _, rows, size: rows, [], Turn()))


def test_images_of_an_abandoned_request_are_not_drawn_to_the_end(build: Build) -> None:
    sizes: list[int] = []

    def after_a_batch(size: int) -> None:
        sizes.append(size)
        worker.abandon(call.turn)

    worker = build(on_batch=after_a_batch)
    worker.sizes = [4]
    held = Held(worker)
    call = drawn(worker, range(40), [0.7, 0.7], 0)
    held.let_go()
    drawn(worker, range(1), [0.7, 0.7], 0).future.result(10)
    assert sizes[0] == 4
    assert sum(sizes) <= 9


def test_what_one_request_breaks_is_not_broken_for_others(model: ImageModel, build: Build) -> None:
    worker = build()
    worker.sizes = [4]
    held = Held(worker)
    good, bad = drawn(worker, range(1, 2), [0.7, 0.7], 2), drawn(worker, range(2, 3), [0.7, 0.7], 99)
    held.let_go()
    assert torch.equal(torch.stack(good.future.result(10)), alone(model, range(1, 2), [0.7, 0.7], 2))
    with pytest.raises(ValueError, match="labels are from"):
        bad.future.result(10)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_leaves_nobody_waiting(build: Build) -> None:
    def dies(_: ImageModel, rows: list[Any], size: int) -> list[Any]:
        raise SystemExit

    worker = build()
    held = Held(worker)
    calls = [Call(dies, [None], Turn()), drawn(worker, range(1), [0.7, 0.7], 0)]
    calls[1].due = float("inf")
    worker.submit(calls[0])
    held.let_go()
    for call in calls:
        with pytest.raises(ModelEndedError):
            call.future.result(10)
    worker._thread.join(10)
    assert not worker.is_alive
    with pytest.raises(ModelEndedError):
        worker.submit(Call(dies, [None], Turn()))


def test_a_worker_that_is_closed_finishes_what_it_has(build: Build) -> None:
    worker = build()
    held, waiting = Held(worker), drawn(worker, range(1), [0.7, 0.7], 0)
    worker.close()
    held.let_go()
    assert len(waiting.future.result(10)) == 1
    worker._thread.join(10)
    assert not worker.is_alive
