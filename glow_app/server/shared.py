"""A stand-in for the model: forwards calls to the worker, which batches them with those of other requests."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.bijections.continuous.options import solve_options
from glow_app.models.bits_table import BitsTable
from glow_app.models.image_model import ImageModel
from glow_app.seeding import ImageGenerators
from glow_app.server.calls import Call, Run, Turn
from glow_app.server.latents_cache import LatentsCache
from glow_app.server.worker import ModelWorker

_ROWS = 256  # about this many rows per call for scores


class SharedModel:
    """Stands in for an :class:`ImageModel` in functions of :mod:`glow_app.generation`.

    Use it from a thread of its own: its methods block until the worker has run them. All else is the model's.
    """

    def __init__(self, worker: ModelWorker, turn: Turn, cache: LatentsCache | None = None) -> None:
        self._worker, self._turn, self._cache = worker, turn, cache or LatentsCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._worker.model, name)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """See :meth:`ImageModel.encode <glow_app.models.image_model.ImageModel.encode>`."""
        rows = list(zip(images.split(1), _each(labels, len(images)), strict=True))
        cached = self._cache.get(rows)
        new = [row for row, latents in zip(rows, cached, strict=True) if latents is None]
        results = self._results(_encode, new) if new else []
        self._cache.put(new, results)
        encoded = iter(results)
        return _columns([next(encoded) if latents is None else latents for latents in cached])

    def decode(self, latents: Sequence[Tensor], labels: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """See :meth:`ImageModel.decode <glow_app.models.image_model.ImageModel.decode>`."""
        if context is None:
            context = self._worker.model.flow.embed(None if labels is None else labels.to(latents[0].device))
        levels = zip(*(level.split(1) for level in latents), strict=True)
        rows = list(zip(levels, _each(context, len(latents[0])), strict=True))
        return torch.stack(self._results(_decode, rows))

    sample = ImageModel.sample  # draws the noise, and decodes it with the method above

    def bits_table(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        num_draws: int = 1,
        generator: torch.Generator | None = None,
    ) -> BitsTable:
        """See :meth:`ImageModel.bits_table`; ``generator`` has a generator per image.

        Each row for the worker is an image in a single draw under a single class, so that large requests do not block
        others. All draws and classes of an image share the noise of its trace estimates.
        """
        assert isinstance(generator, ImageGenerators)
        model, num = self._worker.model, len(images)
        solves, draws = self._solve_noise(num), []
        choices = model.label_choices(num, labels)
        num_together = max(1, _ROWS // num)
        for _ in range(num_draws):
            y, parts = model.dequantised(images, generator).split(1), []
            for start in range(0, len(choices), num_together):
                group = choices[start : start + num_together]
                rows = [row for chosen in group for row in zip(y, _each(chosen, num), solves, strict=True)]
                parts += self._results(_level_bits, rows)
            draws.append(torch.cat(parts).unflatten(0, (len(choices), num)))
        return BitsTable(torch.stack(draws), model.num_dims)

    def _solve_noise(self, num: int) -> list[Tensor] | list[None]:
        """Return the state of each image's generator for trace estimates, or None for each if the model has none."""
        if not self._worker.has_solves:
            return [None] * num
        record = solve_options().record
        assert record is not None
        assert isinstance(record.generator, ImageGenerators)
        return [generator.get_state() for generator in record.generator.each]

    def _results(self, run: Run, rows: list[Any]) -> list[Any]:
        call = Call(run, rows, self._turn)
        self._worker.submit(call)
        return call.future.result()


def sample_call(
    seeds: Sequence[int],
    temperatures: Sequence[float],
    labels: Sequence[int] | None,
    turn: Turn,
    guidance: float = 1.0,
) -> Call:
    """Return the call that draws uint8 images, (C, H, W) each, at a temperature per level, with a label per image."""
    classes: Sequence[int | None] = labels or [None] * len(seeds)
    rows = [_Draw(seed, temperatures, label, guidance) for seed, label in zip(seeds, classes, strict=True)]
    return Call(_decode, rows, turn, must_fill=True)


class _Draw(NamedTuple):
    """A row whose latents and context are created only when its batch starts."""

    seed: int
    temperatures: Sequence[float]
    label: int | None
    guidance: float


def _each(values: Tensor | None, num: int) -> Sequence[Tensor | None]:
    return [None] * num if values is None else values.split(1)


def _columns(rows: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.cat(column) for column in zip(*rows, strict=True)]


def _concatenated(values: Sequence[Tensor | None]) -> Tensor | None:
    tensors = [value for value in values if value is not None]
    return torch.cat(tensors) if tensors else None


def _encode(model: ImageModel, rows: list[Any], _: int) -> list[tuple[Tensor, ...]]:
    images, labels = zip(*rows, strict=True)
    latents = model.encode(torch.cat(images), _concatenated(labels))
    return list(zip(*(level.split(1) for level in latents), strict=True))


def _decode(model: ImageModel, rows: list[Any], size: int) -> list[Tensor]:
    padded = rows + [rows[-1]] * (size - len(rows))
    drawn = _drawn(model, [row for row in padded if isinstance(row, _Draw)])
    latents, contexts = zip(*(next(drawn) if isinstance(row, _Draw) else row for row in padded), strict=True)
    return list(model.decode(_columns(latents), context=_concatenated(contexts)).cpu()[: len(rows)].unbind())


def _drawn(model: ImageModel, draws: list[_Draw]) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
    """Yield the latents and the context of each draw."""
    if not draws:
        return
    seeds, temperatures, labels, guidance = zip(*draws, strict=True)
    levels = model.base_noise(seeds)
    factors = torch.tensor(temperatures).to(levels[0])
    scaled = [factors[:, number, None, None, None] * level for number, level in enumerate(levels)]
    context = None if labels[0] is None else model.flow.embed(torch.tensor(labels, device=model.device), guidance)
    yield from zip(zip(*(level.split(1) for level in scaled), strict=True), _each(context, len(draws)), strict=True)


def _level_bits(model: ImageModel, rows: list[Any], _: int) -> list[Tensor]:
    y, labels, solves = zip(*rows, strict=True)
    generators = [] if solves[0] is None else [torch.Generator("cpu").set_state(state) for state in solves]
    with record_solves(ImageGenerators.of(generators)) if generators else nullcontext():
        return list(model.dequantised_level_bits(torch.cat(y), _concatenated(labels)).split(1))
