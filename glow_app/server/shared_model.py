"""A stand-in for a model that threads of requests share, and the rows that its worker computes."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.bijections.continuous.options import solve_options
from glow_app.conditioning import Given
from glow_app.models.bits_table import BitsTable
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context
from glow_app.pictures.image_batch import Images
from glow_app.seeding import ImageGenerators
from glow_app.server.worker import Call, ModelWorker, Ticket

KEPT_SECONDS = 60.0  # that latents are kept after their last use
_BYTES = 2**24  # limit of all kept latents together


class LatentsCache:
    """Keeps latents of pictures, and of the pictures only a hash, because every move of a slider edits the same one."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, list[Tensor]]] = {}  # least recently used first

    def get(self, images: Tensor, given: Tensor | None, encode: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return the latents of images and what they are given, encoded if not kept; drop the least recently used."""
        known = None if given is None else given.tolist()
        key = hashlib.sha256(images.cpu().numpy().tobytes() + repr(known).encode()).digest()
        kept = self._kept.pop(key, None)
        latents = encode() if kept is None else kept[1]
        self._kept[key] = time.monotonic(), latents
        while sum(level.nbytes for _, levels in list(self._kept.values()) for level in levels) > _BYTES:
            self._kept.pop(next(iter(self._kept)), None)
        return latents

    def expire(self) -> None:
        """Drop latents that were not used for a minute."""
        for key, (used, _) in list(self._kept.items()):
            if used < time.monotonic() - KEPT_SECONDS:
                self._kept.pop(key, None)


class SharedModel:
    """Stands in for an :class:`ImageModel` in the functions that requests run on threads of their own.

    Its methods take the arguments that these functions pass, and return what the model's methods would. The worker
    computes the rows of each call, and the caller waits for them. All other attributes are the model's, and so are
    computed on the caller's thread.
    """

    def __init__(self, model: ImageModel, worker: ModelWorker, ticket: Ticket, cache: LatentsCache) -> None:
        self._model, self._worker, self._ticket, self._cache = model, worker, ticket, cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def sample(
        self,
        num: int,
        temperature: float | Sequence[float],
        seeds: Sequence[int],
        given: Given = None,
        guidance: float = 1.0,
    ) -> Images:
        """Draw images; they equal those of ``glow sample`` to the last bit."""
        settings = self._model.draw_settings(temperature, guidance, given)
        temperatures = settings.temperatures(len(self._model.flow.latent_shapes))
        asked, conditioning = self._model.read(given, num), self._model.conditioning
        known = conditioning.of_draws(asked, seeds)
        # The noise is drawn only when a batch starts, because many requests may wait.
        both = zip(seeds, _rows(num, known, known if asked is None else asked), strict=True)
        rows = [(seed, temperatures, settings.guidance, *row) for seed, row in both]
        images = torch.stack(self._results(_sample, rows, is_padded=True))
        return Images(images, settings.facts_of_draws(seeds, conditioning.plain(known)))

    def bits_table(self, images: Tensor, given: Given = None, num_draws: int = 1, generator: Any = None) -> BitsTable:
        """Score images, within :func:`record_solves`; ``generator`` has a generator per image."""
        model, num, draws = self._model, len(images), []
        choices = model.conditioning.choices(given, num)
        record: Any = solve_options().record  # of the enclosing record_solves, with a generator per image
        noise = record.generator.get_state()  # of trace estimates, the same in all rows
        for _ in range(num_draws):
            y = model.dequantised(images, generator)
            rows = [row for choice in choices for row in _rows(num, y, choice, noise)]
            draws.append(torch.cat(self._results(_level_bits, rows)).unflatten(0, (len(choices), num)))
        return BitsTable(torch.stack(draws), model.num_dims)

    def encode(self, images: Tensor, given: Given = None) -> list[Tensor]:
        """Encode images; their latents are kept for a while."""
        known = self._model.read(given, len(images))
        rows = _rows(len(images), images, known)
        return self._cache.get(images, known, lambda: _columns(self._results(_encode, rows)))

    decode = ImageModel.decode  # by the context and decode_with

    def decode_with(self, latents: Sequence[Tensor], context: Context, change: Tensor | None = None) -> Images:
        """Decode latents with a context."""
        assert not isinstance(context, Sequence)  # feature maps are only those of restorers
        return Images(torch.stack(self._results(_decode_with, _rows(len(latents[0]), context, change, *latents))))

    def run_steps(self, steps: Iterator[None], total: int) -> Iterator[None]:
        """Yield the results of steps of a restoration, each a call of the worker; note on the ticket what is done."""
        for number in count(1):
            if self._results(_step, [steps], is_alone=True)[0]:
                return
            self._ticket.share = number / total
            yield

    def _results(self, run: Any, rows: list[Any], is_padded: bool = False, is_alone: bool = False) -> Any:
        call = Call(run, self._model, rows, self._ticket, is_padded, is_alone)
        self._worker.submit(call)
        return call.future.result()


def _rows(num: int, *columns: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    """Return the rows of columns, of which each has a row per image, one for all, or none."""
    each = ([None] * num if column is None else column.expand(num, *column.shape[1:]).split(1) for column in columns)
    return list(zip(*each, strict=True))


def _columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [None if column[0] is None else torch.cat(column) for column in zip(*rows, strict=True)]


def _sample(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    seeds, temperatures, guidance, *given = zip(*rows, strict=True)
    levels = model.base_noise(seeds)
    factors = torch.tensor(temperatures).to(levels[0])
    scaled = [factors[:, number, None, None, None] * level for number, level in enumerate(levels)]
    known, asked = _columns(list(zip(*given, strict=True)))
    return model.decode_draws(scaled, known, guidance, asked).cpu().unbind()


def _level_bits(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    y, given, noise = _columns(rows)
    generators = ImageGenerators.of([torch.Generator("cpu") for _ in rows])
    with record_solves(generators.set_state(noise)):
        return model.dequantised_level_bits(y, given).split(1)


def _encode(model: ImageModel, rows: list[Any]) -> list[tuple[Tensor | None, ...]]:
    return _rows(len(rows), *model.encode(*_columns(rows)))


def _decode_with(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    context, change, *latents = _columns(rows)
    return model.decode_with(latents, context, change).cpu().unbind()


@torch.no_grad()
def _step(_: ImageModel, rows: list[Iterator[None]]) -> list[Any]:
    return [next(steps, True) for steps in rows]  # True after the last
