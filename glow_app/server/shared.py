"""A stand-in for a model: forwards calls to the worker, which batches them with those of other requests."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.bijections.continuous.options import solve_options
from glow_app.flows import Context
from glow_app.models.bits_table import BitsTable
from glow_app.models.class_labels import Labels, as_labels
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.seeding import ImageGenerators
from glow_app.server.worker import Call, ModelWorker, Run, Turn

KEPT_SECONDS = 60.0  # that latents are kept after their last use
_BYTES = 2**24  # limit of all kept latents together


class LatentsCache:
    """Keeps the latents of recent requests, because every move of a slider edits the same pictures."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, list[Tensor]]] = {}  # least recently used first

    def get(self, key: bytes, encode: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return the latents of a key, encoded if they are not kept; drop the least recently used."""
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
    """Stands in for an :class:`ImageModel` in functions of :mod:`glow_app.generation`.

    Use it from a thread of its own: its methods block until the worker has run them. All else is the model's.
    """

    def __init__(self, model: ImageModel, worker: ModelWorker, turn: Turn, cache: LatentsCache) -> None:
        self._model, self._worker, self._turn, self._cache = model, worker, turn, cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def sample(
        self,
        num: int,
        temperature: float | Sequence[float],
        seeds: Sequence[int],
        labels: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Images:
        """See :meth:`ImageModel.sample`; the images equal those of ``glow sample`` to the last bit."""
        settings = self._model.generation.override(temperature, guidance)
        temperatures = settings.temperatures(len(self._model.flow.latent_shapes))
        classes = [None] * num if labels is None else labels.tolist()
        # The noise is drawn only when a batch starts, because many requests may wait.
        rows = [(seed, temperatures, label, guidance) for seed, label in zip(seeds, classes, strict=True)]
        images = torch.stack(self._results(_sample, rows, is_padded=True))
        return Images(images, self._model.facts_of(seeds, settings, labels))

    def bits_table(
        self, images: Tensor, labels: Labels | None = None, num_draws: int = 1, generator: Any = None
    ) -> BitsTable:
        """See :meth:`ImageModel.bits_table`; ``generator`` has a generator per image, as in :func:`record_solves`."""
        model, num, draws = self._model, len(images), []
        choices = model.label_choices(num, labels)
        record = solve_options().record
        assert record is not None
        assert isinstance(record.generator, ImageGenerators)
        noise = [each.get_state() for each in record.generator.each]  # of trace estimates, the same in all rows
        for _ in range(num_draws):
            y = model.dequantised(images, generator).split(1)
            rows = [row for choice in choices for row in zip(y, _each(choice, num), noise, strict=True)]
            draws.append(torch.cat(self._results(_level_bits, rows)).unflatten(0, (len(choices), num)))
        return BitsTable(torch.stack(draws), model.num_dims)

    def encode(self, images: Tensor, labels: Labels | None = None) -> list[Tensor]:
        """See :meth:`ImageModel.encode <glow_app.models.image_model.ImageModel.encode>`."""
        each = _each(as_labels(self._model, labels, len(images)), len(images))
        key = hashlib.sha256(images.cpu().numpy().tobytes() + repr(each).encode()).digest()  # keeps no pictures
        rows = list(zip(images.split(1), each, strict=True))
        return self._cache.get(key, lambda: _columns(self._results(_encode, rows)))

    def decode(self, latents: Sequence[Tensor], labels: Labels | None = None, context: Context = None) -> Images:
        """See :meth:`ImageModel.decode <glow_app.models.image_model.ImageModel.decode>`."""
        num = len(latents[0])
        if context is None:
            context = self._model.context(num, labels)
        assert context is None or isinstance(context, Tensor)  # feature maps are only those of restorers
        levels = zip(*(level.split(1) for level in latents), strict=True)
        rows = list(zip(levels, _each(context, num), strict=True))
        return Images(torch.stack(self._results(_decode, rows)))

    def context(
        self, num: int, labels: Labels | None = None, condition: Tensor | None = None, guidance: float = 1.0
    ) -> Context:
        """See :meth:`ImageModel.context <glow_app.models.image_model.ImageModel.context>`."""
        if condition is None:
            return self._model.context(num, labels, None, guidance)
        context: Context = self._results(_context, [(num, labels, condition)], is_alone=True)[0]
        return context

    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """See :meth:`ImageModel.decode_values <glow_app.models.image_model.ImageModel.decode_values>`."""
        values: Tensor = self._results(_decode_values, [(latents, context)], is_alone=True)[0]
        return values

    def _results(self, run: Run, rows: list[Any], is_padded: bool = False, is_alone: bool = False) -> list[Any]:
        call = Call(run, self._model, rows, self._turn, is_padded, is_alone)
        self._worker.submit(call)
        return call.future.result()


def _each(values: Tensor | None, num: int) -> Sequence[Tensor | None]:
    return [None] * num if values is None else values.split(1)


def _columns(rows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.cat(column) for column in zip(*rows, strict=True)]


def _concatenated(values: Sequence[Tensor | None]) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors) if tensors else None


def _encode(model: ImageModel, rows: list[Any]) -> list[tuple[Tensor, ...]]:
    images, labels = zip(*rows, strict=True)
    latents = model.encode(torch.cat(images), _concatenated(labels))
    return list(zip(*(level.split(1) for level in latents), strict=True))


def _decode(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    latents, contexts = zip(*rows, strict=True)
    return model.decode(_columns(latents), context=_concatenated(contexts)).cpu().unbind()


def _context(model: ImageModel, rows: list[Any]) -> list[Context]:
    return [model.context(*row) for row in rows]


def _decode_values(model: ImageModel, rows: list[Any]) -> list[Tensor]:
    return [model.decode_values(*row) for row in rows]


def _level_bits(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    y, labels, noise = zip(*rows, strict=True)
    with record_solves(ImageGenerators.of([torch.Generator("cpu").set_state(state) for state in noise])):
        return model.dequantised_level_bits(torch.cat(y), _concatenated(labels)).split(1)


def _sample(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    seeds, temperatures, labels, guidance = zip(*rows, strict=True)
    levels = model.base_noise(seeds)
    factors = torch.tensor(temperatures).to(levels[0])
    scaled = [factors[:, number, None, None, None] * level for number, level in enumerate(levels)]
    context = None if labels[0] is None else model.flow.embed(torch.tensor(labels, device=model.device), guidance)
    return model.decode(scaled, context=context).cpu().unbind()
