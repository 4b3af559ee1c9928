"""The served model as the threads of requests use it, and the pictures, latents and values that it keeps."""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.bijections.continuous.record import current_record
from glow_app.conditioning import Given
from glow_app.generation.inference import read
from glow_app.generation.loaded_model import LoadedModel
from glow_app.generation.sampling import draw
from glow_app.models.bits_table import BitsTable
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.models.module_state import model_hash
from glow_app.nn.context import Context
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.seeding import ImageGenerators
from glow_app.server.worker import ModelWorker

KEPT_SECONDS = 60.0  # that something is kept after its last use
_BYTES = 2**26  # limit of all that is kept: latents of as many pictures of 256x256 as requests fit into the queue


class Cache:
    """Keeps pictures, their latents, and values of latents, by a hash: every move of a slider needs the same."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, int, Any]] = {}  # least recently used first

    def find(self, key: bytes) -> Any:
        """Return what is kept by a key; None if nothing is."""
        if (kept := self._kept.pop(key, None)) is None:
            return None
        _, num_bytes, value = kept
        self.keep(key, value, num_bytes)
        return value

    def keep(self, key: bytes, value: Any, num_bytes: int) -> None:
        """Keep a value; drop the least recently used."""
        self._kept[key] = time.monotonic(), num_bytes, value
        while sum(size for _, size, _ in list(self._kept.values())) > _BYTES:
            self._kept.pop(next(iter(self._kept)), None)

    def expire(self) -> None:
        """Drop what was not used for a minute."""
        for key, (used, *_) in list(self._kept.items()):
            if used < time.monotonic() - KEPT_SECONDS:
                self._kept.pop(key, None)


class QueuedModel(LoadedModel):
    """A model for the threads of requests: it draws, encodes, decodes and scores on the worker's thread.

    The images of a call are rows, which share batches with those of other requests; the caller waits for its results.
    Everything else, such as the context, is computed on the caller's thread.
    """

    hash = cached_property(model_hash)  # of weights that no longer change, as every picture's facts are checked by it

    def __init__(self, model: ImageModel, worker: ModelWorker) -> None:
        super().__init__(model.flow, model.num_bits)
        self.generation, self.vocabulary = model.generation, model.vocabulary
        self.cache = Cache()
        self._compute, self._rows = worker.compute, _RowFunctions(model)

    def _draw(self, seeds: Sequence[int], settings: GenerationSettings, given: Tensor | None, size: Any) -> Images:
        # The noise is drawn only when a batch starts, because many requests may wait; settings are the same in a batch.
        rows = _rows(len(seeds), torch.tensor(seeds), given)
        images = self._compute(self._rows.draw, rows, size, settings)
        return Images(torch.stack(images), [fact for image in images for fact in image.facts])

    def encode(self, images: Pictures, given: Given = None) -> list[Tensor]:
        """Encode images; their latents are kept for a while."""
        images, given = read(self, images, given)
        rows = _rows(len(images), images, given)
        return self._kept(images, given, lambda: _columns(self._compute(self._rows.encode, rows)))

    def decode_with(
        self, latents: Sequence[Tensor], context: Context, change: Tensor | None = None, shrink: bool = False
    ) -> Images:
        """Decode latents with a context."""
        assert not isinstance(context, Sequence)  # feature maps are only those of restorers
        rows = _rows(len(latents[0]), context, change, *latents)
        return Images(torch.stack(self._compute(self._rows.decode, rows, shrink)))

    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """Decode latents with a context, without rounding; the values are kept for a while."""
        assert not isinstance(context, Sequence)
        rows = _rows(len(latents[0]), context, *latents)
        noise = torch.cat([level.flatten() for level in latents])
        return self._kept(noise, context, lambda: [torch.stack(self._compute(self._rows.decode_values, rows))])[0]

    def _kept(self, inputs: Tensor, given: Tensor | None, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return latents of images, or values of latents, computed if not kept."""
        values = None if given is None else given.tolist()  # as text, in which unknown values are equal
        key = hashlib.sha256(inputs.cpu().numpy().tobytes() + repr(values).encode()).digest()
        if (kept := self.cache.find(key)) is not None:
            return cast(list[Tensor], kept)
        tensors = compute()
        self.cache.keep(key, tensors, sum(tensor.nbytes for tensor in tensors))
        return tensors

    def bits_table(
        self, images: Tensor, given: Tensor | None = None, draws: int = 1, generator: torch.Generator | None = None
    ) -> BitsTable:
        """Score images, within :func:`record_solves`; both generators have one per image."""
        record: Any = current_record()
        noise = record.generator.get_state()  # of trace estimates, the same in all rows of an image
        choices, table = self.conditioning.unknown(len(images)) if given is None else [given], []
        for _ in range(draws):
            y = self.dequantised(images, generator)
            rows = [row for choice in choices for row in _rows(len(y), y, choice, noise)]
            bits = torch.cat(self._compute(self._rows.level_bits, rows))
            table.append(bits.unflatten(0, (len(choices), len(y))))
        return BitsTable(torch.stack(table), y[0].numel())


class _RowFunctions:
    """What the worker's thread computes by a model: a result for each of some rows."""

    def __init__(self, model: ImageModel) -> None:
        self._model = model

    def draw(self, rows: list[Any], size: tuple[int, int] | None, settings: GenerationSettings) -> list[Images]:
        seeds, given = _columns(rows)
        return list(draw(self._model, seeds.tolist(), settings, given, size).cpu())

    def encode(self, rows: list[Any]) -> list[tuple[Tensor | None, ...]]:
        return _rows(len(rows), *self._model.encode(*_columns(rows)))

    def decode(self, rows: list[Any], shrink: bool) -> Sequence[Tensor]:
        context, change, *latents = _columns(rows)
        return self._model.decode_with(latents, context, change, shrink).cpu().unbind()

    def decode_values(self, rows: list[Any]) -> Sequence[Tensor]:
        context, *latents = _columns(rows)
        return self._model.decode_values(latents, context).unbind()

    def level_bits(self, rows: list[Any]) -> Sequence[Tensor]:
        y, given, noise = _columns(rows)
        generators = ImageGenerators.of([torch.Generator("cpu") for _ in rows])
        with record_solves(generators.set_state(noise)):
            return self._model.dequantised_level_bits(y, given).split(1)


def _rows(num: int, *columns: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    """Return the rows of columns, of which each has a row per image, one for all, or none."""
    each = ([None] * num if column is None else column.expand(num, *column.shape[1:]).split(1) for column in columns)
    return list(zip(*each, strict=True))


def _columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [None if column[0] is None else torch.cat(column) for column in zip(*rows, strict=True)]
