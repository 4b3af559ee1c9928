"""The model's thread: batches of draws across requests, order, and abandoned calls; the served model and its cache."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from app_client import wait_until
from busy_thread import BusyThread
from registry import random_images, same_pictures, tiny_model

from glow_app.bijections import record_solves
from glow_app.conditioning import AttributeConditioning
from glow_app.pictures.image_batch import Images
from glow_app.pipeline import edit_attributes
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.pipeline.sampling import draw
from glow_app.priors import CNFPrior, GaussianPrior
from glow_app.seeding import image_generators
from glow_app.server import served_model
from glow_app.server.model_thread import TICKET, ModelEndedError, ModelThread, Ticket
from glow_app.server.served_model import ServedModel


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny_model(num_classes=4)


@pytest.fixture
def thread(model: LoadedModel) -> Iterator[ModelThread]:
    thread = ModelThread(model)
    TICKET.set(Ticket())
    yield thread
    thread.stop(0)


def drawn(model: LoadedModel, seeds: range, guidance: float, given: int) -> Images:
    """Draw as a request of its own."""
    TICKET.set(Ticket())
    return model.sample(len(seeds), [0.5, 0.9], seeds, given, guidance)


def test_requests_with_equal_settings_share_a_batch_of_as_many_draws_as_they_ask_for(
    model: LoadedModel, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()

    def counted(model: LoadedModel, seeds: list[int], *arguments: Any) -> Images:
        sizes.append(len(seeds))
        return draw(model, seeds, *arguments)

    monkeypatch.setattr("glow_app.server.model_thread.draw", counted)
    monkeypatch.setattr("glow_app.server.model_thread._BATCH_SECONDS", 1e6)  # whatever the speed of the machine
    served = ServedModel(model, thread)
    drawn(served, range(1), 1.0, 0)  # to see how long an image takes
    busy = BusyThread(thread)
    asked = [(range(3), 1.25, 0), (range(7, 8), 1.25, 1), (range(20, 25), 1.25, 3), (range(2), 0.3, 3)]
    with ThreadPoolExecutor(len(asked)) as pool:
        results = []
        for request in asked:
            results.append(pool.submit(drawn, served, *request))
            wait_until(lambda: thread.num_waiting == 1 + len(results))
        busy.release()
    assert sorted(sizes) == [1, 2, 9]
    for images, request in zip(results, asked, strict=True):
        expected = drawn(model, *request)
        assert same_pictures(images.result(), expected)
        assert images.result().facts == expected.facts


def test_many_draws_are_made_in_parts_between_which_others_are_served(
    model: LoadedModel, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glow_app.server.model_thread._BATCH_SECONDS", 0)  # an image at a time
    monkeypatch.setattr("glow_app.server.model_thread._FREE_SECONDS", 0)
    served, order = ServedModel(model, thread), list[str]()

    def counted(model: LoadedModel, seeds: list[int], *arguments: Any) -> Images:
        if seeds == [5]:
            thread.submit(lambda: order.append("other"), Ticket(-1e9))  # due first
        order.append(str(seeds[0]))
        return draw(model, seeds, *arguments)

    monkeypatch.setattr("glow_app.server.model_thread.draw", counted)
    assert same_pictures(drawn(served, range(4, 8), 1.0, 2), drawn(model, range(4, 8), 1.0, 2))
    assert order == ["4", "5", "other", "6", "7"]


def test_a_draw_that_fails_does_not_affect_others_in_its_batch(
    model: LoadedModel, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(model: LoadedModel, seeds: list[int], *arguments: Any) -> Images:
        if 7 in seeds:
            raise FloatingPointError("not finite")
        return draw(model, seeds, *arguments)

    monkeypatch.setattr("glow_app.server.model_thread.draw", failing)
    served = ServedModel(model, thread)
    drawn(served, range(1), 1.0, 0)
    busy = BusyThread(thread)
    with ThreadPoolExecutor(2) as pool:
        good, bad = (pool.submit(drawn, served, range(seed, seed + 1), 1.0, 0) for seed in (3, 7))
        wait_until(lambda: thread.num_waiting == 3)
        busy.release()
    assert same_pictures(good.result(), drawn(model, range(3, 4), 1.0, 0))
    with pytest.raises(FloatingPointError):
        bad.result()


def test_short_requests_overtake_long_ones_without_starving_them(thread: ModelThread) -> None:
    order: list[str] = []
    busy = BusyThread(thread)
    tickets = {"long": Ticket(0.0, 5.0), "longer": Ticket(0.0, 9.0), "new": Ticket(20.0), "late": Ticket(100.0)}
    futures = [thread.submit(partial(order.append, name), ticket) for name, ticket in tickets.items()]
    busy.release()
    for future in futures:
        future.result(60)
    assert order == ["new", "long", "longer", "late"]


def test_of_equal_requests_the_first_is_finished_before_the_last_begins(thread: ModelThread) -> None:
    order: list[str] = []
    busy, ended = BusyThread(thread), []
    for number, name in enumerate("abc"):
        ticket = Ticket(float(number), 1.0)  # which has taken a second already

        def encode(name: str = name, ticket: Ticket = ticket) -> None:
            order.append(f"encode {name}")
            ended.append(thread.submit(lambda: order.append(f"decode {name}"), ticket))

        thread.submit(encode, ticket)
    busy.release()
    wait_until(lambda: len(ended) == 3 and all(future.done() for future in ended))
    assert order == ["encode a", "decode a", "encode b", "decode b", "encode c", "decode c"]


def test_abandoned_calls_are_dropped(thread: ModelThread) -> None:
    busy, ticket = BusyThread(thread), Ticket()
    waiting = thread.submit(list, ticket)
    thread.abandon(ticket)
    with pytest.raises(ModelEndedError):
        waiting.result(60)
    with pytest.raises(ModelEndedError):
        thread.submit(list, ticket)
    running = Ticket()
    begun = thread.submit(partial(thread.abandon, running), running)
    busy.release()
    with pytest.raises(ModelEndedError):
        begun.result(60)
    assert thread.submit(lambda: [1], Ticket()).result(60) == [1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("dies", [True, False])
def test_all_calls_end_with_the_thread(dies: bool, thread: ModelThread) -> None:
    def die() -> None:
        raise SystemExit

    busy = BusyThread(thread)
    futures = [thread.submit(die if dies else list, Ticket(0.0)), thread.submit(list, Ticket())]
    if dies:
        busy.release()
    else:
        stopping = threading.Thread(target=thread.stop, args=[30])
        stopping.start()
        with pytest.raises(ModelEndedError):
            futures[0].result(60)
        assert thread.is_alive, "until its call is done"
        busy.released.set()
        stopping.join(60)
    for future in futures:
        with pytest.raises(ModelEndedError):
            future.result(60)
    wait_until(lambda: not thread.is_alive)
    with pytest.raises(ModelEndedError):
        thread.submit(list, Ticket())


@pytest.mark.parametrize(
    ("prior", "given"),
    [
        (partial(CNFPrior, solver="rk4", eval_solver="rk4", num_steps=2, trace="hutchinson"), None),
        (GaussianPrior, torch.tensor([3, 1])),
    ],
)
def test_scores_equal_those_of_the_model(
    prior: Callable[..., Any], given: torch.Tensor | None, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_model, "_PIXELS", 64)  # an image at a time
    model, images = tiny_model(image_shape=(1, 8, 8), num_classes=4, prior=prior), random_images(2, (1, 8, 8))
    found = []
    for each in (model, ServedModel(model, thread)):
        with record_solves(image_generators([7, 8])):
            found.append(each.bits_table(images, given, 2, image_generators(range(2))).bits)
    torch.testing.assert_close(*found)


def test_pictures_are_encoded_only_once(
    model: LoadedModel, thread: ModelThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, encode = list[int](), model.encode

    def counted(images: torch.Tensor, labels: torch.Tensor | None) -> list[torch.Tensor]:
        sizes.append(len(images))
        return encode(images, labels)

    monkeypatch.setattr(model, "encode", counted)
    served, images, labels = ServedModel(model, thread), random_images(3), torch.tensor([0, 1, 2])
    for _ in range(2):
        for ours, level in zip(served.encode(images, labels), encode(images, labels), strict=True):
            torch.testing.assert_close(ours, level)
    assert sum(sizes) == 3
    served.encode(images, labels.flip(0))  # of other classes
    assert sum(sizes) == 6
    served = ServedModel(tiny_model(conditioning=AttributeConditioning({"hat": "yes_no"}, 4)), thread)
    unknown = torch.full((3, 1), float("nan"))
    assert served.encode(images, unknown) is served.encode(images, unknown)
    monkeypatch.setattr(served_model, "_BYTES", 8)
    served = ServedModel(model, thread)
    served.encode(images, labels)
    assert sum(sizes) == 9, "what is too large is not kept"


def test_where_an_attribute_acts_is_decoded_only_once(thread: ModelThread, monkeypatch: pytest.MonkeyPatch) -> None:
    conditioning = AttributeConditioning({"hat": "yes_no", "age": "real"}, 4)
    model, decoded = tiny_model(conditioning=conditioning), list[int]()
    images, decode_values = random_images(1), model.decode_values

    def counted(latents: list[torch.Tensor], context: torch.Tensor) -> torch.Tensor:
        decoded.append(len(context))
        return decode_values(latents, context)

    served, known = ServedModel(model, thread), {"hat": 0, "age": 0.4}
    for changes in ({"age": 0.5}, {"age": 0.3}, {"hat": 1, "age": 0.6}):
        moves = [({**changes, "age": changes["age"] + by}, strength) for by in (0, 0.05) for strength in (0.6, 1.2)]
        expected = [edit_attributes(model, images, to, known, strength) for to, strength in moves]
        with monkeypatch.context() as patch:
            patch.setattr(model, "decode_values", counted)
            for (to, strength), edited in zip(moves, expected, strict=True):
                assert same_pictures(edit_attributes(served, images, to, known, strength), edited)
    assert sum(decoded) == 2 + 2 + 3
