"""The service of a model and restorers: checks what requests ask for, decodes their pictures, and calls the worker."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from glow_app import __version__
from glow_app.generation import Direction, Reference
from glow_app.models.class_labels import Labels, as_labels, labels_of_seeds
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.seeding import random_seed
from glow_app.server.decoder import Decoded, Decoder
from glow_app.server.errors import ApiError, invalid, model_ended, refused
from glow_app.server.limits import Limits
from glow_app.server.restorer import Restorer, described
from glow_app.server.schemas import Generation, Info
from glow_app.server.shared import KEPT_SECONDS, LatentsCache, SharedModel
from glow_app.server.worker import ModelEndedError, ModelWorker, Turn
from glow_app.storage.pretrained import REFERENCE_KEY

T = TypeVar("T")

_LAST_BATCH = 5.0  # seconds to wait for the model's last batch; most take one
_OMITTED = ("classes", "reference", "bpd_level/", "log_det/")  # training facts returned elsewhere, or only diagnostic


class Service:
    """The operations behind the endpoints; methods raise :class:`ApiError` for invalid requests.

    Scores have verdicts if there is a reference of ordinary images among the facts of the training.
    """

    def __init__(
        self,
        model: ImageModel,
        worker: ModelWorker,
        decoder: Decoder,
        limits: Limits,
        directions: Mapping[str, Direction],
        training: Mapping[str, Any],
        restorers: Mapping[str, ImageModel],
    ) -> None:
        self.model, self.worker, self.limits, self.directions = model, worker, limits, directions
        self.decoder, self._cache = decoder, LatentsCache()
        self.restorers = {name: Restorer(name, restorer) for name, restorer in restorers.items()}
        self._threads = ThreadPoolExecutor(limits.queue, "request")
        # Long restorations run one at a time: together all would be late, each with some 40 bytes per restored pixel.
        self.long, self.short = ThreadPoolExecutor(1, "long-restoration"), ThreadPoolExecutor(4, "short-restoration")
        self.info = Info(
            version=__version__,
            **described(model),
            num_bits=model.num_bits,
            num_levels=len(model.flow.latent_shapes),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            directions=list(directions),
            restorers=[restorer.info for restorer in self.restorers.values()],
            generation=Generation(**model.generation.to_plain()),
            training={name: value for name, value in training.items() if not name.startswith(_OMITTED)},
            limits=vars(limits),
        )
        plain = training.get(REFERENCE_KEY)
        self.reference = None if plain is None else Reference.from_plain(plain, self.info.num_levels)

    def close(self) -> None:
        """Drop all work, and wait a little for the model's last batch and for the threads of requests."""
        self.worker.stop(_LAST_BATCH)
        self.decoder.close()

    async def run(
        self,
        work: Callable[[ImageModel], T],
        model: ImageModel | None = None,
        threads: ThreadPoolExecutor | None = None,
    ) -> T:
        """Run a function of a model, the main one if omitted, on one of some threads, and return its result."""
        turn, loop = Turn(), asyncio.get_running_loop()
        shared = SharedModel(model or self.model, self.worker, turn, self._cache)
        try:
            return await loop.run_in_executor(threads or self._threads, work, cast(ImageModel, shared))
        except FloatingPointError as error:
            raise ApiError(422, "not_finite", "the model gives no finite image for these settings") from error
        except ModelEndedError as error:
            raise model_ended() from error
        finally:
            self.worker.abandon(turn)  # nobody waits for any calls that are left
            loop.call_later(KEPT_SECONDS, self._cache.expire)

    async def read(self, texts: Sequence[str], place: str = "images[{}]") -> tuple[Tensor, list[str | None]]:
        """Decode the pictures at a place in the request to the model's shape, (B, C, H, W); return them and notes."""
        self.check_count(len(texts), "images")
        shape = self.model.flow.image_shape
        pictures = [await self.read_one(text, place.format(number), shape) for number, text in enumerate(texts)]
        return torch.stack([picture.image for picture in pictures]), [picture.note for picture in pictures]

    async def read_one(self, text: str, place: str, shape: Sequence[int], *bounds: Any) -> Decoded:
        """Decode a picture at a place in the request; for the other arguments see :meth:`Decoder.read`."""
        try:
            if not text.isascii():  # such a string takes up to four times its bytes in memory
                raise ApiError(422, "not_base64", "not valid base64")
            return await self.decoder.read(text, shape, *bounds)
        except ApiError as error:
            raise ApiError(error.status, error.code, f"{place}: {error.message}") from error

    def seeds(self, count: int, seed: int | None) -> range:
        """Return the seeds of ``count`` images."""
        self.check_count(count, "count")
        seed = random_seed(count) if seed is None else seed
        if seed + count - 1 > LARGEST_SEED:
            raise invalid(f"seed: with count {count} at most {LARGEST_SEED - count + 1}")
        return range(seed, seed + count)

    def classes(self, seeds: range, label: int | str | None, model: ImageModel | None = None) -> Tensor | None:
        """Return the class of each seed: the given one, or all in turn; None if the model has no classes."""
        with refused("label"):
            return labels_of_seeds(model or self.model, seeds, label)

    def labels(self, labels: Labels | None, num: int, place: str = "labels") -> Tensor | None:
        """Return the number of each image's class, or None if no labels are given."""
        with refused(place):
            return as_labels(self.model, labels, num)

    def settings(
        self, temperature: float | Sequence[float] | None, guidance: float | None, model: ImageModel | None = None
    ) -> GenerationSettings:
        """Return the settings for sampling: the model's recommendation with the given overrides."""
        model = model or self.model
        with refused():
            settings = model.generation.override(temperature, guidance)
            settings.check(len(model.flow.latent_shapes), model.flow.num_classes is not None)
        return settings

    def places(self, places: Sequence[Sequence[float]], num_images: int) -> Tensor:
        """Return the weights of :func:`generation.blend <glow_app.generation.blend>` for places between the images."""
        self.check_count(len(places), "at")
        num_coordinates = {2: 1, 4: 2}.get(num_images)
        if num_coordinates is None:
            raise invalid(f"at: there are {num_images} images; expected 2 or 4")
        if any(len(place) != num_coordinates for place in places):
            raise invalid(f"at: expected {num_coordinates} numbers for each frame between {num_images} images")
        weights = torch.tensor(places)[:, None].expand(-1, self.info.num_levels, -1)
        return weights.squeeze(2) if num_coordinates == 1 else weights

    def direction(self, name: str) -> Direction:
        """Return a direction by name."""
        if name not in self.directions:
            names = ", ".join(self.directions) or "none"
            raise ApiError(404, "unknown_direction", f"there is no such direction; known: {names}")
        return self.directions[name]

    def restorer(self, name: str | None) -> Restorer:
        """Return a restorer by name, or the only restorer if the name is None."""
        names = ", ".join(self.restorers) or "none"
        if name is None and len(self.restorers) == 1:
            return next(iter(self.restorers.values()))
        if name is None and self.restorers:
            raise invalid(f"restorer: there are several; expected one of {names}")
        if name is None or name not in self.restorers:
            raise ApiError(404, "unknown_restorer", f"there is no such restorer; known: {names}")
        return self.restorers[name]

    def check_count(self, count: int, name: str, largest: int | None = None) -> None:
        """Raise ApiError if a count exceeds the limit."""
        largest = largest or self.limits.count
        if count > largest:
            raise invalid(f"{name}: {count} are too many; at most {largest}")
