"""The service of a model and restorers: validates requests, decodes their pictures, and calls the worker."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from glow_app import __version__
from glow_app.generation import Direction, Reference
from glow_app.messages import pluralise
from glow_app.models.class_labels import class_number, classes_of_seeds
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.restoration import Restoration
from glow_app.seeding import random_seed
from glow_app.server.calls import Turn
from glow_app.server.daemon_thread import on_daemon_thread
from glow_app.server.decoder import Decoded, Decoder
from glow_app.server.errors import ApiError, invalid, model_ended
from glow_app.server.latents_cache import KEPT_SECONDS, LatentsCache
from glow_app.server.limits import Limits
from glow_app.server.restoring import Restorer
from glow_app.server.schemas import Generation, Info, RestoreRequest
from glow_app.server.shared import SharedModel, sample_call
from glow_app.server.worker import ModelEndedError, ModelWorker
from glow_app.storage.pretrained import REFERENCE_KEY, model_hash

T = TypeVar("T")

_OMITTED = ("classes", "reference", "bpd_level/", "log_det/")  # training facts returned elsewhere, or only diagnostic


class Service:
    """The operations behind the endpoints; methods raise :class:`ApiError` for invalid requests.

    Args:
        worker: Worker that runs the model.
        decoder: Decoder of pictures.
        limits: See :class:`Limits`.
        directions: Edit directions by name.
        training: Facts of the model's training, for ``/v1/info``. Scores have verdicts if there is a reference of
            ordinary images among them.
        restorers: Models with a task, by name.
    Raises:
        ValueError: If the reference among the facts is damaged.
    """

    def __init__(
        self,
        worker: ModelWorker,
        decoder: Decoder,
        limits: Limits,
        directions: Mapping[str, Direction],
        training: Mapping[str, Any],
        restorers: Mapping[str, ImageModel],
    ) -> None:
        self.model, self.worker, self.limits, self.directions = worker.model, worker, limits, directions
        self.restorers = {name: Restorer(name, model) for name, model in restorers.items()}
        # Long restorations run one at a time: together all would be late, each with some 40 bytes per restored pixel.
        self._long, self._short = asyncio.Semaphore(), asyncio.Semaphore(4)
        self.info = _info(self, training)
        self._decoder = decoder
        plain = training.get(REFERENCE_KEY)
        self.reference = None if plain is None else Reference.from_plain(plain, self.info.num_levels)
        self._cache = LatentsCache()

    async def read(self, texts: Sequence[str], place: str = "images[{}]") -> tuple[Tensor, list[str | None]]:
        """Decode the pictures of a request to the model's shape, (B, C, H, W); return them and notes on the conversion.

        Args:
            texts: Files in base64.
            place: Their place in the request, with a field for the index, for messages.
        """
        self.check_count(len(texts), "images")
        shape = self.model.flow.image_shape
        pictures = await self._read([(place.format(number), text, shape) for number, text in enumerate(texts)])
        return torch.stack([picture.image for picture in pictures]), [picture.note for picture in pictures]

    async def _read(self, files: Sequence[tuple[str, str, Sequence[int]]], *bounds: Any) -> list[Decoded]:
        """Decode files, given as place in the request, base64 and shape."""
        for place, text, _ in files:
            if not text.isascii():  # such a string takes up to four times its bytes in memory
                raise ApiError(422, "not_base64", f"{place}: no base64; expected a file in base64")
        # Requested concurrently: one after another, each would wait for the turns of other clients.
        reads = (self._decoder.read(text, shape, *bounds) for _, text, shape in files)
        pictures = []
        answers = await asyncio.gather(*reads, return_exceptions=True)
        for (place, *_), answer in zip(files, answers, strict=True):
            if isinstance(answer, ApiError):
                raise ApiError(answer.status, answer.code, f"{place}: {answer.message}") from answer
            if isinstance(answer, BaseException):
                raise answer
            pictures.append(answer)
        return pictures

    async def sample(
        self, count: int, settings: GenerationSettings, seed: int | None, label: int | None
    ) -> tuple[int, list[Tensor], list[int] | None]:
        """Return the seed of the first image, the images of ``glow sample``, and the class of each."""
        seeds = self._seeds(count, seed)
        labels = classes_of_seeds(self.model, seeds, label)
        async with self._turn() as turn:
            call = sample_call(seeds, self.temperatures(settings.temperature), labels, turn, settings.guidance)
            self.worker.submit(call)
            images = await asyncio.wrap_future(call.future)
        return seeds[0], images, labels

    async def restore(self, restorer: Restorer, body: RestoreRequest) -> tuple[Restoration, str | None, bytes | None]:
        """Restore a damaged picture; return the draws of ``glow restore``, a note and a colour profile."""
        seeds, model = self._seeds(body.count, body.seed), restorer.model
        if body.temperature is not None:
            self.temperatures(body.temperature, model)
        label = None if body.label is None else self.label(body.label, model=model)
        labels = classes_of_seeds(model, seeds, label)
        restorer.require_options(body)
        files = [("image", body.image, (restorer.channels,))]
        files += [] if body.mask is None else [("mask", body.mask, (1,))]
        scale, bound = restorer.scale(body.count)
        pictures = await self._read(files, self.limits.restored_pixels // scale, bound)
        pixels = scale * pictures[0].image[0].numel()
        turns = self._long if pixels > self.limits.restored_pixels // 8 else self._short
        loop = asyncio.get_running_loop()
        await turns.acquire()

        def ended(_: "Future[tuple[Restoration, str | None]]") -> None:
            with suppress(RuntimeError):  # the event loop has been closed
                loop.call_soon_threadsafe(turns.release)

        async with self._turn() as turn:
            work = partial(restorer.restore, self.worker, turn, body, pictures, seeds, labels)
            running = on_daemon_thread("restoration", work)
            running.add_done_callback(ended)  # the thread of a cancelled request still takes memory
            return *await asyncio.wrap_future(running), pictures[0].icc_profile

    def _seeds(self, count: int, seed: int | None) -> range:
        self.check_count(count, "count")
        if seed is None:
            seed = random_seed(count)
        if seed + count - 1 > LARGEST_SEED:
            raise invalid(f"seed: with count {count} at most {LARGEST_SEED - count + 1}")
        return range(seed, seed + count)

    async def run(self, work: Callable[[ImageModel], T]) -> T:
        """Run a function of the model on a thread, and return its result."""
        async with self._turn() as turn:
            shared = cast(ImageModel, SharedModel(self.worker, turn, self._cache))
            try:
                return await asyncio.wrap_future(on_daemon_thread("request", partial(work, shared)))
            finally:
                asyncio.get_running_loop().call_later(KEPT_SECONDS, self._cache.expire)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Turn]:
        turn = Turn()
        try:
            yield turn
        except FloatingPointError as error:
            raise ApiError(422, "not_finite", "the model gives no finite image for these settings") from error
        except ModelEndedError as error:
            raise model_ended() from error
        finally:
            self.worker.abandon(turn)  # nobody waits for any calls that are left

    def labels(self, labels: Sequence[int | str] | None, images: Tensor) -> Tensor | None:
        """Return the number of each image's class, or None if no labels are given."""
        if labels is None:
            return None
        if len(labels) != len(images):
            raise invalid(f"labels: {len(labels)} for {pluralise(len(images), 'image')}; give one for each")
        return torch.tensor([self.label(label, f"labels[{number}]") for number, label in enumerate(labels)])

    def label(self, label: int | str, place: str = "label", model: ImageModel | None = None) -> int:
        """Return the number of a class, given by number or name; ``place`` in the request is for messages."""
        model = model or self.model
        num_classes = model.flow.num_classes
        if num_classes is None:
            name = place.partition("[")[0]
            raise invalid(f"{name}: this model has no classes; leave it out")
        try:
            return class_number(model, str(label))
        except ValueError as error:
            names = f", or {', '.join(model.class_names)}" if model.class_names else ""
            raise invalid(f"{place}: this model has the classes 0 to {num_classes - 1}{names}") from error

    def settings(self, temperature: float | Sequence[float] | None, guidance: float | None) -> GenerationSettings:
        """Return the settings for sampling: the model's recommendation with the given overrides."""
        if guidance not in (None, 1) and self.model.flow.num_classes is None:
            raise invalid("guidance: this model has no classes; leave it out")
        recommended = self.model.generation
        self.temperatures(recommended.temperature if temperature is None else temperature)
        return recommended.override(temperature, guidance)

    def temperatures(self, temperature: float | Sequence[float], model: ImageModel | None = None) -> list[float]:
        """Return the temperature of each level."""
        model = model or self.model
        try:
            return model.level_temperatures(temperature)
        except ValueError as error:
            num_levels = len(model.flow.latent_shapes)
            raise invalid(f"temperature: expected one, or {num_levels}, one for each level") from error

    def places(self, places: Sequence[Sequence[float]], num_images: int) -> Tensor:
        """Return the weights of :func:`generation.blend <glow_app.generation.blend>` for places between the images."""
        self.check_count(len(places), "at")
        num_coordinates = {2: 1, 4: 2}.get(num_images)
        if num_coordinates is None:
            raise invalid(f"at: there are {num_images} images; expected 2 or 4")
        for number, place in enumerate(places):
            if len(place) != num_coordinates:
                raise invalid(f"at[{number}]: {pluralise(len(place), 'number')}; expected {num_coordinates}")
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


def _info(service: Service, training: Mapping[str, Any]) -> Info:
    model = service.model
    return Info(
        version=__version__,
        model=model_hash(model),
        image_shape=list(model.flow.image_shape),
        num_bits=model.num_bits,
        num_levels=len(model.flow.latent_shapes),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        num_classes=model.flow.num_classes,
        classes=list(model.class_names) or None,
        directions=list(service.directions),
        restorers=[restorer.info for restorer in service.restorers.values()],
        generation=Generation(**model.generation.to_plain()),
        training={name: value for name, value in training.items() if not name.startswith(_OMITTED)},
        limits=vars(service.limits),
    )
