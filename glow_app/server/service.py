"""The model as requests see it: pictures and settings in, jobs to the worker, results back."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from torch import Tensor

from glow_app import generation
from glow_app.bounds import LARGEST_SEED
from glow_app.generation import Direction, Typical
from glow_app.model import ImageModel
from glow_app.server.errors import ApiError
from glow_app.server.limits import Limits
from glow_app.server.pictures import read_picture
from glow_app.server.worker import Job, ModelWorker, SampleJob
from glow_app.usage import counted

__all__ = ["Service"]

_LOOK_AGAIN = 0.1  # seconds between looks whether the client is still there
_DECODERS = 1  # pictures decoded at one time: each may take six bytes a pixel while it is


class Service:
    """What the endpoints do.

    Args:
        model: That is served.
        worker: That uses it.
        limits: See :class:`Limits`.
        directions: For edits, by name.
    """

    def __init__(
        self, model: ImageModel, worker: ModelWorker, limits: Limits, directions: Mapping[str, Direction]
    ) -> None:
        self.model, self.worker, self.limits, self.directions = model, worker, limits, directions
        self._decoders = asyncio.Semaphore(_DECODERS)
        self._typical: Typical | None = None

    async def read(self, texts: Sequence[str], place: str = "images[{}]") -> tuple[Tensor, list[str | None]]:
        """Return the pictures of a request in the model's shape, (B, C, H, W), and what was done for that.

        Args:
            texts: Files in base64.
            place: Where they stand in the request, with the number of each, for messages.
        Raises:
            ApiError: If they are too many, or one cannot be taken; see :func:`read_picture`.
        """
        self.check_count(len(texts), "images")
        images, notes = [], []
        for number, text in enumerate(texts):
            async with self._decoders:
                try:
                    image, note = await run_in_threadpool(read_picture, text, self.model.flow.image_shape, self.limits)
                except ApiError as error:
                    message = f"{place.format(number)}: {error.message}"
                    raise ApiError(error.status, error.code, message) from error
            images.append(image)
            notes.append(note)
        return torch.stack(images), notes

    async def sample(
        self,
        request: Request,
        count: int,
        temperature: float | Sequence[float],
        seed: int | None,
        label: int | None,
    ) -> tuple[int, list[Tensor], list[int] | None]:
        """Return the seed of the first image, the images, and the class of each: those of ``glow sample``."""
        self.check_count(count, "count")
        if seed is None:
            seed = random.SystemRandom().randrange(LARGEST_SEED - count)
        if seed + count - 1 > LARGEST_SEED:
            raise ApiError(422, "invalid_request", f"seed: with count {count} at most {LARGEST_SEED - count + 1}")
        seeds = range(seed, seed + count)
        labels = generation.labels_of_seeds(self.model, seeds, label)
        chosen = None if labels is None else labels.tolist()
        job = SampleJob(seeds, self.temperatures(temperature), chosen)
        return seed, await self.result(request, job), chosen

    async def run(self, request: Request, work: Callable[[ImageModel], Any]) -> Any:
        """Return what a function of the model gives."""
        return await self.result(request, Job(work))

    async def result(self, request: Request, job: Job) -> Any:
        """Return what comes of a job.

        Raises:
            ApiError: 503 where the queue is full or the server stops, 504 at the deadline, 422 where the model gives
                nothing for these settings.
        """
        self.worker.submit(job)
        future = asyncio.wrap_future(job.future)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.seconds
        try:
            while not (await asyncio.wait({future}, timeout=_LOOK_AGAIN))[0]:
                if await request.is_disconnected():
                    raise ApiError(499, "client_left", "the client closed the connection")
                if loop.time() > deadline:
                    raise ApiError(504, "too_slow", f"there was no result within {self.limits.seconds:g} s")
            return future.result()
        except FloatingPointError as error:
            raise ApiError(422, "not_finite", "the model gives no finite image for these settings") from error
        finally:
            if not future.done():
                self.worker.abandon(job)

    def labels(self, labels: Sequence[int | str] | None, images: Tensor) -> Tensor | None:
        """Return the class of each image, where classes are given.

        Raises:
            ApiError: If there is not one for each image, or one does not fit.
        """
        if labels is None:
            return None
        if len(labels) != len(images):
            message = f"labels: {len(labels)} for {counted(len(images), 'image')}; give one for each"
            raise ApiError(422, "invalid_request", message)
        return torch.tensor([self.label(label, f"labels[{number}]") for number, label in enumerate(labels)])

    def label(self, label: int | str, place: str = "label") -> int:
        """Return the number of a class that the model has, given it or a name.

        Args:
            label: Number or name.
            place: Where it stands in the request, for messages.
        Raises:
            ApiError: If the model has not this class.
        """
        num_classes = self.model.flow.num_classes
        if num_classes is None:
            name = place.partition("[")[0]
            raise ApiError(422, "invalid_request", f"{name}: this model has no classes; leave it out")
        try:
            return generation.class_number(self.model, str(label))
        except ValueError as error:
            named = f", or {', '.join(self.model.class_names)}" if self.model.class_names else ""
            message = f"{place}: this model has the classes 0 to {num_classes - 1}{named}"
            raise ApiError(422, "invalid_request", message) from error

    def temperatures(self, temperature: float | Sequence[float]) -> list[float]:
        """Return the temperature of each level.

        Raises:
            ApiError: If several are given, but not one for each.
        """
        num_levels = len(self.model.flow.latent_shapes)
        values = [temperature] * num_levels if isinstance(temperature, (int, float)) else list(temperature)
        if len(values) != num_levels:
            raise ApiError(422, "invalid_request", f"temperature: expected one, or {num_levels}, one for each level")
        return values

    def direction(self, name: str) -> Direction:
        """Return a direction.

        Raises:
            ApiError: 404 if there is none of that name.
        """
        if name not in self.directions:
            known = ", ".join(self.directions) or "none"
            raise ApiError(404, "unknown_direction", f"there is no such direction; known are: {known}")
        return self.directions[name]

    def check_count(self, count: int, name: str, largest: int | None = None) -> None:
        """Raise if there are too many of something.

        Raises:
            ApiError: If so.
        """
        largest = largest or self.limits.count
        if count > largest:
            raise ApiError(422, "invalid_request", f"{name}: {count} are too many; at most {largest}")

    def typical(self, model: ImageModel) -> Typical:
        """Return what is usual for the model, from its own samples; on the worker's thread, and once."""
        if self._typical is None:
            self._typical = Typical.of(generation.measure_samples(model))
        return self._typical
