"""The served model as the threads of requests use it, and the pictures, latents and values that it keeps."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from threading import Lock
from typing import Any, cast

import torch
from cachetools import TTLCache
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.bijections.continuous.record import current_record
from glow_app.conditioning import Given
from glow_app.models.bits_table import BitsTable
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.models.module_state import model_hash
from glow_app.nn.context import Context
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.inference import read
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.seeding import ImageGenerators
from glow_app.server.model_thread import ModelThread

KEPT_SECONDS = 60.0  # that something is kept
_BYTES = 2**26  # limit of all that is kept: latents of as many pictures of 256x256 as requests fit into the queue
_PIXELS = 2**18  # of the images that are encoded, decoded or scored at a time, so that others need not wait long


class ServedModel(LoadedModel):
    """A model for the threads of requests: it computes on the model's thread, some images at a time.

    Everything else, such as the context, is computed on the caller's thread. Pictures, latents and values of latents
    are kept for a minute, since every move of a slider needs the same.
    """

    hash = cached_property(model_hash)  # of weights that no longer change, as every picture's facts are checked by it

    def __init__(self, model: ImageModel, thread: ModelThread) -> None:
        super().__init__(model.flow, model.num_bits)
        self.generation, self.vocabulary = model.generation, model.vocabulary
        self._cache: TTLCache[bytes, Any] = TTLCache(_BYTES, KEPT_SECONDS, getsizeof=_num_bytes)
        self._lock = Lock()
        self._model, self._thread = [model], thread  # in a list, so that it is not registered as a submodule

    def _draw(self, seeds: Sequence[int], settings: GenerationSettings, given: Tensor | None, size: Any) -> Images:
        return self._thread.draw(seeds, settings, given, size)

    def encode(self, images: Pictures, given: Given = None) -> list[Tensor]:
        """Encode images; their latents are kept for a while."""
        images, given = read(self, images, given)
        return self._kept(images, given, partial(self._by_parts, self._model[0].encode, len(images), images, given))

    def decode_with(
        self, latents: Sequence[Tensor], context: Context, change: Tensor | None = None, shrink: bool = False
    ) -> Images:
        """Decode latents with a context."""

        def decode(context: Context, change: Tensor | None, *latents: Tensor) -> list[Tensor]:
            return [self._model[0].decode_with(latents, context, change, shrink).cpu().as_subclass(Tensor)]

        (images,) = self._by_parts(decode, len(latents[0]), context, change, *latents)
        return Images(images)

    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """Decode latents with a context, without rounding; the values are kept for a while."""

        def decode(context: Context, *latents: Tensor) -> list[Tensor]:
            return [self._model[0].decode_values(latents, context)]

        noise = torch.cat([level.flatten() for level in latents])
        compute = partial(self._by_parts, decode, len(latents[0]), context, *latents)
        return self._kept(noise, cast(Tensor | None, context), compute)[0]

    def bits_table(
        self, images: Tensor, given: Tensor | None = None, draws: int = 1, generator: torch.Generator | None = None
    ) -> BitsTable:
        """Score images, within :func:`record_solves`; both generators have one per image."""
        record: Any = current_record()
        each: Any = generator

        def score(numbers: Tensor, images: Tensor, given: Tensor | None) -> list[Tensor]:
            noise, own = (ImageGenerators.of([all_.each[n] for n in numbers]) for all_ in (each, record.generator))
            with record_solves(own):
                return [self._model[0].bits_table(images, given, draws, noise).bits.movedim(2, 0)]

        (bits,) = self._by_parts(score, len(images), torch.arange(len(images)), images, given)
        return BitsTable(bits.movedim(0, 2), images[0].numel())

    def _by_parts(self, function: Callable[..., list[Tensor]], num: int, *columns: Any) -> list[Tensor]:
        """Return the results of a function of images; each column has a row per image, one for all, or none."""
        rows = [None if each is None else each.expand(num, *each.shape[1:]) for each in columns]
        at_a_time = max(1, _PIXELS // (self.flow.image_shape[1] * self.flow.image_shape[2]))
        parts = []
        for first in range(0, num, at_a_time):
            part = [None if row is None else row[first : first + at_a_time] for row in rows]
            parts.append(self._thread.compute(partial(function, *part)))
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _kept(self, inputs: Tensor, given: Tensor | None, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return latents of images, or values of latents, computed if not kept."""
        values = None if given is None else given.tolist()  # as text, in which unknown values are equal
        key = hashlib.sha256(inputs.cpu().numpy().tobytes() + repr(values).encode()).digest()
        if (kept := self.find(key)) is None:
            kept = compute()
            self.keep(key, kept)
        return cast(list[Tensor], kept)

    def find(self, key: bytes) -> Any:
        """Return what is kept by a key; None if nothing is."""
        with self._lock:
            return self._cache.get(key)

    def keep(self, key: bytes, value: Any) -> None:
        """Keep a picture or tensors, unless they are larger than all that may be kept."""
        with self._lock, suppress(ValueError):
            self._cache[key] = value

    def expire(self) -> None:
        """Drop what was kept long enough."""
        with self._lock:
            self._cache.expire()


def _num_bytes(value: Any) -> int:
    return sum(tensor.nbytes for tensor in value) if isinstance(value, list) else int(value.pixels.nbytes)
