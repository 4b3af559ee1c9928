"""What the routes call: checks of requests, and the models, whose work is batched over all requests."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from glow_app import __version__, generation
from glow_app.bijections import record_solves
from glow_app.bijections.continuous.options import solve_options
from glow_app.conditioning import Given
from glow_app.evaluation.trained_on import known_pictures
from glow_app.models.bits_table import BitsTable
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.pictures.image_batch import Images
from glow_app.seeding import ImageGenerators, random_seed
from glow_app.server.answers import ApiError, invalid, validating
from glow_app.server.decoder import Decoder
from glow_app.server.latents_cache import KEPT_SECONDS, LatentsCache
from glow_app.server.limits import Limits
from glow_app.server.restorer import Restorer
from glow_app.server.schemas import Edit, GivenKind, Info
from glow_app.server.worker import Call, ModelWorker, Ticket
from glow_app.storage.checkpoint import CONTENTS_KEY
from glow_app.storage.model_folders import SUMMARY_KEY
from glow_app.storage.pretrained import REFERENCE_KEY
from glow_app.storage.stored_model import model_hash

T = TypeVar("T")

_STOP_SECONDS = 5.0  # to wait for the model's last batch; most take 1 s
# Facts that are returned elsewhere, or are not for people.
_OMITTED = ("classes", CONTENTS_KEY, REFERENCE_KEY, SUMMARY_KEY, "bpd_level/", "log_det/")


class Service:
    """A model and restorers behind the routes; methods raise :class:`ApiError` for invalid requests.

    Scores have verdicts if there is a reference of ordinary images among the facts of the training.
    """

    def __init__(
        self,
        model: ImageModel,
        worker: ModelWorker,
        decoder: Decoder,
        limits: Limits,
        directions: Mapping[str, generation.Direction],
        training: Mapping[str, Any],
        restorers: Mapping[str, ImageModel],
        name: str,
    ) -> None:
        self.model, self.worker, self.limits, self.directions = model, worker, limits, directions
        self.decoder, self._cache = decoder, LatentsCache()
        self.restorers = {name: Restorer(name, restorer) for name, restorer in restorers.items()}
        self._threads = ThreadPoolExecutor(limits.queue, "request")
        # Long restorations run one at a time: together all would be late, each with some 40 bytes per restored pixel.
        self.long, self.short = ThreadPoolExecutor(1, "long-restoration"), ThreadPoolExecutor(4, "short-restoration")
        known = model.conditioning.describe()
        _, height, width = model.flow.image_shape
        what, _, more = str(training.get(SUMMARY_KEY, "draws pictures")).partition(". ")
        self.info = Info(
            version=__version__,
            name=name,
            summary=f"{what[:1].upper()}{what[1:]}, {width}x{height}. {more}".strip(),
            model=model_hash(model),
            image_shape=list(model.flow.image_shape),
            given=None if known is None else GivenKind(**known),
            guided=model.conditioning.guided,
            num_bits=model.num_bits,
            num_levels=len(model.flow.latent_shapes),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            directions=list(directions),
            restorers=[restorer.info for restorer in self.restorers.values()],
            generation=model.generation,
            training={name: value for name, value in training.items() if not name.startswith(_OMITTED)},
            limits=vars(limits),
        )
        self.origin = {"model": self.info.model, "version": __version__}  # in the metadata of every picture
        self.known = known_pictures(training)
        reference = training.get(REFERENCE_KEY)
        self.reference = None if reference is None else generation.Reference.from_plain(reference, self.info.num_levels)

    def close(self) -> None:
        """Drop all work, and wait a little for the model's last batch and for the threads of requests."""
        self.worker.stop(_STOP_SECONDS)
        self.decoder.close()

    async def run(
        self,
        function: Callable[..., T],
        *arguments: Any,
        model: ImageModel | None = None,
        threads: ThreadPoolExecutor | None = None,
        **options: Any,
    ) -> T:
        """Return ``function(model, *arguments, **options)``, such as ``generation.edit``, computed on another thread.

        It gets a :class:`SharedModel` of ``model``, by default the main one; ``threads`` are by default those of all
        requests.
        """
        ticket, loop = Ticket(), asyncio.get_running_loop()
        shared = SharedModel(model or self.model, self.worker, ticket, self._cache)
        work = partial(function, cast(ImageModel, shared), *arguments, **options)
        try:
            return await loop.run_in_executor(threads or self._threads, work)
        finally:
            self.worker.abandon(ticket)  # nobody waits for any calls that are left
            loop.call_later(KEPT_SECONDS, self._cache.expire)

    def given_of_draws(self, given: Given, seeds: range) -> Tensor | None:
        """Return what is given to the draws of some seeds; if nothing is, all values in turn."""
        with validating("given"):
            return self.model.conditioning.default(seeds) if given is None else self.model.read(given, len(seeds))

    def read_given(self, given: Given, num: int) -> Tensor | None:
        """Return what is given for each of some pictures; None if nothing is, and :meth:`infer` can infer it."""
        self.check_count(num, "images")
        with validating("given"):
            if given is None:
                self.model.conditioning.choices(None, num)  # raises if there are too many to infer it
            return self.model.read(given, num)

    async def infer(self, images: Tensor, given: Tensor | None) -> Tensor | None:
        """Return what is given for each picture or, if nothing is, the most probable value of each."""
        return await self.run(generation.infer, images) if given is None else given

    def plain(self, given: Tensor | None) -> list[Any] | None:
        """Return what pictures are given, for answers; None for an unconditional model."""
        return self.model.conditioning.plain(given) or None

    def facts(self, given: Tensor | None) -> dict[str, Any]:
        """Return the metadata of a picture that was made from pictures of which this was given."""
        return self.model.conditioning.metadata(given) | self.origin

    async def read(self, texts: Sequence[str], field: str = "images[{}]") -> tuple[Tensor, list[str | None]]:
        """Decode the pictures of a field to the model's shape, (B, C, H, W); return them, and a note on each."""
        shape = self.model.flow.image_shape
        pictures = [await self.decoder.read(field.format(number), text, shape) for number, text in enumerate(texts)]
        return torch.stack([picture.image for picture in pictures]), [picture.note for picture in pictures]

    def seeds(self, count: int, seed: int | None) -> range:
        """Return the seeds of ``count`` images."""
        self.check_count(count, "count")
        seed = random_seed(count) if seed is None else seed
        if seed + count - 1 > LARGEST_SEED:
            raise invalid(f"seed: must be at most {LARGEST_SEED - count + 1} with count {count}")
        return range(seed, seed + count)

    def settings(
        self, temperature: float | Sequence[float] | None, guidance: float | None, model: ImageModel | None = None
    ) -> GenerationSettings:
        """Return the settings for sampling: the model's recommendation with the given overrides."""
        model = model or self.model
        with validating():
            settings = model.generation.override(temperature, guidance)
            settings.check(len(model.flow.latent_shapes), model.conditioning.guided)
        return settings

    def strengths(self, edits: Sequence[Edit]) -> list[tuple[generation.Direction, float]]:
        """Return directions with their strengths."""
        return [(_named(self.directions, edit.direction, "direction"), edit.strength) for edit in edits]

    def restorer(self, name: str | None) -> Restorer:
        """Return a restorer by name, or the only restorer if the name is None."""
        if name is None and len(self.restorers) == 1:
            (name,) = self.restorers
        return _named(self.restorers, name, "restorer")

    def check_count(self, count: int, field: str, largest: int | None = None) -> None:
        """Raise ApiError if a count exceeds the limit."""
        largest = largest or self.limits.count
        if count > largest:
            raise invalid(f"{field}: must be at most {largest}, got {count}")


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
        settings = self._model.generation.override(temperature, guidance)
        temperatures = settings.temperatures(len(self._model.flow.latent_shapes))
        known = self._model.read(given, num)
        # The noise is drawn only when a batch starts, because many requests may wait.
        rows = [(seed, temperatures, row, guidance) for seed, (row,) in zip(seeds, _rows(num, known), strict=True)]
        images = torch.stack(self._results(_sample, rows, is_padded=True))
        return Images(images, settings.facts_of_draws(seeds, self._model.conditioning.plain(known)))

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

    def decode(self, latents: Sequence[Tensor], given: Given = None) -> Images:
        """Decode latents."""
        known = self._model.read(given, len(latents[0]))
        return Images(torch.stack(self._results(_decode, _rows(len(latents[0]), known, *latents))))

    def decode_with(self, latents: Sequence[Tensor], context: Context) -> Images:
        """Decode latents with a context."""
        assert not isinstance(context, Sequence)  # feature maps are only those of restorers
        return Images(torch.stack(self._results(_decode_with, _rows(len(latents[0]), context, *latents))))

    def context(self, *arguments: Any) -> Context:
        """Return a context, such as that of a part of a damaged picture."""
        return self._results(_call, [("context", *arguments)], is_alone=True)[0]

    def decode_values(self, *arguments: Any) -> Tensor:
        """Decode a part of a restored picture."""
        return self._results(_call, [("decode_values", *arguments)], is_alone=True)[0]

    def _results(self, run: Any, rows: list[Any], is_padded: bool = False, is_alone: bool = False) -> Any:
        call = Call(run, self._model, rows, self._ticket, is_padded, is_alone)
        self._worker.submit(call)
        return call.future.result()


def _named(values: Mapping[str, T], name: str | None, kind: str) -> T:
    if name is None or name not in values:
        raise ApiError(404, f"unknown_{kind}", f"no such {kind}; available: {', '.join(values) or 'none'}")
    return values[name]


def _rows(num: int, *columns: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    """Return the rows of columns, of which each has a row per image, one for all, or none."""
    each = ([None] * num if column is None else column.expand(num, *column.shape[1:]).split(1) for column in columns)
    return list(zip(*each, strict=True))


def _columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [None if column[0] is None else torch.cat(column) for column in zip(*rows, strict=True)]


def _sample(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    seeds, temperatures, given, guidance = zip(*rows, strict=True)
    levels = model.base_noise(seeds)
    factors = torch.tensor(temperatures).to(levels[0])
    scaled = [factors[:, number, None, None, None] * level for number, level in enumerate(levels)]
    (known,) = _columns([(row,) for row in given])
    return model.decode_with(scaled, model.context(known, len(rows), guidance)).cpu().unbind()


def _level_bits(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    y, given, noise = _columns(rows)
    generators = ImageGenerators.of([torch.Generator("cpu") for _ in rows])
    with record_solves(generators.set_state(noise)):
        return model.dequantised_level_bits(y, given).split(1)


def _encode(model: ImageModel, rows: list[Any]) -> list[tuple[Tensor | None, ...]]:
    return _rows(len(rows), *model.encode(*_columns(rows)))


def _decode(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    given, *latents = _columns(rows)
    return model.decode(latents, given).cpu().unbind()


def _decode_with(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    context, *latents = _columns(rows)
    return model.decode_with(latents, context).cpu().unbind()


def _call(model: ImageModel, rows: list[Any]) -> list[Any]:
    return [getattr(model, name)(*arguments) for name, *arguments in rows]
