"""What the routes call: the checks of requests, and the models, whose work is batched across requests."""

import asyncio
import ctypes
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from glow_app import __version__, pipeline
from glow_app.conditioning import Given
from glow_app.data.decoding import Photo
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.pictures.image_batch import Images
from glow_app.pipeline.inference import drawn_with, find_values, given_facts
from glow_app.seeding import random_seed
from glow_app.server.answers import ApiError, invalid, unavailable, validating
from glow_app.server.bodies import Upload
from glow_app.server.decoder import Decoder
from glow_app.server.info import describe_served
from glow_app.server.limits import Limits
from glow_app.server.model_thread import TICKET, ModelThread, Ticket
from glow_app.server.restorer import Restorer, RestorerChain
from glow_app.server.served_model import KEPT_SECONDS, ServedModel
from glow_app.storage.model_folders import CLEANER

T = TypeVar("T")

_READY_SECONDS = 4.0  # to wait for the model's thread, whose batches and tiles take about 1 s
_STOP_SECONDS = 5.0  # to wait for the model's last batch; most take 1 s


class Service:
    """A model and restorers behind the routes; methods raise :class:`ApiError` for invalid requests.

    Scores have verdicts if the facts of the training include statistics of ordinary images.
    """

    def __init__(
        self,
        model: ImageModel,
        limits: Limits,
        directions: Mapping[str, pipeline.Direction],
        training: Mapping[str, Any],
        restorers: Sequence[Restorer],
        name: str,
    ) -> None:
        self.limits, self.directions, self.thread, self.decoder = (
            limits,
            directions,
            ModelThread(model),
            Decoder(limits),
        )
        self.model = ServedModel(model, self.thread)
        self.restorers = {restorer.info.name: restorer for restorer in restorers}
        self.tickets: dict[str, Ticket] = {}  # of restorations that are computed, by request
        self._threads = ThreadPoolExecutor(limits.queue, "request")
        self._num_ended = 0  # pieces of work within the last minute
        # Long restorations run one at a time: together all would be late, each with some 40 bytes per restored pixel.
        self.long, self.short = ThreadPoolExecutor(1, "long-restoration"), ThreadPoolExecutor(4, "short-restoration")
        self.num_long = 0  # long restorations, all but one of which wait
        infos = [restorer.info for restorer in restorers]
        self.info = describe_served(self.model, limits, name, directions, training, infos)
        self.origin = {"model": self.info.model, "version": __version__}  # in the metadata of every picture
        self.reference = pipeline.Reference.of_facts(training, self.info.num_levels)

    def close(self) -> None:
        """Drop all work, and wait a little for the model's last batch and for the threads of requests."""
        self.thread.stop(_STOP_SECONDS)
        self.decoder.close()

    async def check_ready(self) -> None:
        """Raise ApiError unless the model's thread answers in time."""
        ticket = Ticket()
        future = self.thread.submit(list, ticket)
        try:
            await asyncio.wait_for(asyncio.wrap_future(future), _READY_SECONDS)
        except TimeoutError as error:
            self.thread.abandon(ticket)
            raise unavailable("not_ready", "the model is busy", 1) from error

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        threads: ThreadPoolExecutor | None = None,
        request_id: str = "",
        **options: Any,
    ) -> T:
        """Return ``function(*arguments, **options)``, such as ``pipeline.edit`` with the model, from another thread.

        By default, that is one of the threads for all requests. ``/v1/progress`` shows the progress by ``request_id``.
        """
        ticket, loop = Ticket(), asyncio.get_running_loop()
        if request_id:
            self.tickets[request_id] = ticket

        def work() -> T:
            TICKET.set(ticket)
            return function(*arguments, **options)

        try:
            return await loop.run_in_executor(threads or self._threads, work)
        finally:
            self.tickets.pop(request_id, None)
            self.thread.abandon(ticket)  # nobody waits for any calls that are left
            self._num_ended += 1
            loop.call_later(KEPT_SECONDS, self._release)

    def _release(self) -> None:
        """Drop what was kept long enough and, if nothing else ended meanwhile, return memory to the system."""
        self.model.expire()
        self._num_ended -= 1
        if not self._num_ended:
            self._threads.submit(return_memory)

    async def pictures(
        self, files: Sequence[Upload], given: Given, field: str = "images[{}]", infers: bool = True
    ) -> tuple[Images, list[str | None], Tensor | None]:
        """Decode pictures to the model's shape; return them, a note on each, and what is given for each.

        If nothing is given and ``infers``, it is what they were drawn with or, if values are few, the most probable.
        """
        self.check_count(len(files), "images")
        with validating("given"):  # before pictures are decoded; raises if there are too many values to infer it
            known = self.model.vocabulary.parse(given, len(files))
            if known is None:
                self.model.conditioning.unknown(1)
        pictures = [await self._picture(field.format(number), file) for number, file in enumerate(files)]
        pixels = torch.stack([torch.from_numpy(picture.pixels) for picture in pictures])
        images = Images(pixels, [dict(picture.drawn) for picture in pictures])
        if known is None and infers:
            known, _ = await self.run(find_values, self.model, images)
        return images, [picture.note for picture in pictures], known

    async def _picture(self, field: str, file: Upload) -> Photo:
        """Decode a picture to the model's shape, if it is not kept."""
        content = file.content
        key = hashlib.sha256(content if isinstance(content, bytes) else content.encode()).digest()
        photo: Photo | None = self.model.find(key)
        if photo is None:
            photo = await self.decoder.read(field, content, self.model.flow.image_shape)
            self.model.keep(key, photo)
        file.drop()
        return photo

    def given_by(self, images: Images, given: Given) -> Literal["request", "picture", "inference"]:
        """Return where what is given for the first of :meth:`pictures` is from, if the request has ``given``."""
        if given is not None:
            return "request"
        return "inference" if drawn_with(self.model, images)[0] is None else "picture"

    def format(self, given: Tensor | None) -> list[Any] | None:
        """Return what is given for pictures as plain values; None for an unconditional model."""
        return self.model.vocabulary.format(given) or None

    def facts(self, given: Tensor | None) -> dict[str, Any]:
        """Return the metadata of a picture made from pictures for which this was given."""
        return given_facts(self.model, given) | self.origin

    def size(self, size: list[int] | None) -> tuple[int, int] | None:
        """Return the size of a request's result; None for that of the model."""
        checked = None if size is None else (size[0], size[1])
        with validating():
            self.model.flow.check_size(checked)
        return checked

    def seeds(self, count: int, seed: int | None) -> range:
        """Return the seeds of ``count`` images."""
        self.check_count(count, "count")
        seed = random_seed(count) if seed is None else seed
        if seed + count - 1 > LARGEST_SEED:
            raise invalid(f"seed: must be at most {LARGEST_SEED - count + 1} with count {count}")
        return range(seed, seed + count)

    def chain(self, names: str | list[str] | None) -> RestorerChain:
        """Return restorers by name; without one, the only restorer or that which cleans photographs."""
        if names is None:
            names = next(iter(self.restorers)) if len(self.restorers) == 1 else CLEANER
        names = [names] if isinstance(names, str) else names
        return RestorerChain([named(self.restorers, name, "restorer") for name in names])

    def check_count(self, count: int, field: str, largest: int | None = None) -> None:
        """Raise ApiError if a count exceeds the limit."""
        largest = largest or self.limits.count
        if count > largest:
            raise invalid(f"{field}: must be at most {largest}, got {count}")


def return_memory() -> None:
    """Return freed memory to the system, which glibc keeps by the settings of the command line."""
    with suppress(AttributeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)


def named(values: Mapping[str, T], name: str, kind: str) -> T:
    """Return the value of a name; raise ApiError if there is none."""
    if name not in values:
        raise ApiError(404, f"unknown_{kind}", f"no such {kind}; available: {', '.join(values) or 'none'}")
    return values[name]
