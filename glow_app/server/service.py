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
from glow_app.flows import Context
from glow_app.messages import pluralise
from glow_app.models.bits_table import BitsTable
from glow_app.models.class_labels import Labels, as_labels, class_facts, labels_of_seeds
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.pictures.image_batch import Images
from glow_app.seeding import ImageGenerators, random_seed
from glow_app.server.answers import ApiError, invalid, validating
from glow_app.server.decoder import Decoder
from glow_app.server.latents_cache import KEPT_SECONDS, LatentsCache
from glow_app.server.limits import Limits
from glow_app.server.restorer import Restorer
from glow_app.server.schemas import Generation, Info, describe
from glow_app.server.worker import Call, ModelWorker, Ticket
from glow_app.storage.pretrained import REFERENCE_KEY

T = TypeVar("T")

_STOP_SECONDS = 5.0  # to wait for the model's last batch; most take 1 s
_OMITTED = ("classes", "reference", "bpd_level/", "log_det/")  # training facts returned elsewhere, or only diagnostic


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
    ) -> None:
        self.model, self.worker, self.limits, self.directions = model, worker, limits, directions
        self.decoder, self._cache = decoder, LatentsCache()
        self.restorers = {name: Restorer(name, restorer) for name, restorer in restorers.items()}
        self._threads = ThreadPoolExecutor(limits.queue, "request")
        # Long restorations run one at a time: together all would be late, each with some 40 bytes per restored pixel.
        self.long, self.short = ThreadPoolExecutor(1, "long-restoration"), ThreadPoolExecutor(4, "short-restoration")
        self.info = Info(
            version=__version__,
            **describe(model),
            num_bits=model.num_bits,
            num_levels=len(model.flow.latent_shapes),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            directions=list(directions),
            restorers=[restorer.info for restorer in self.restorers.values()],
            generation=Generation(**model.generation.to_plain()),
            training={name: value for name, value in training.items() if not name.startswith(_OMITTED)},
            limits=vars(limits),
        )
        self.origin = {"model": self.info.model, "version": __version__}  # in the metadata of every picture
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
        """Return ``function(model, *arguments, **options)``, computed on a thread of its own.

        Args:
            function: Function of a model, such as those of :mod:`glow_app.generation`; it gets a :class:`SharedModel`.
            arguments, options: Its other arguments.
            model: The model; the main one if omitted.
            threads: The threads to choose from; those of all requests if omitted.
        """
        ticket, loop = Ticket(), asyncio.get_running_loop()
        shared = SharedModel(model or self.model, self.worker, ticket, self._cache)
        work = partial(function, cast(ImageModel, shared), *arguments, **options)
        try:
            return await loop.run_in_executor(threads or self._threads, work)
        finally:
            self.worker.abandon(ticket)  # nobody waits for any calls that are left
            loop.call_later(KEPT_SECONDS, self._cache.expire)

    # Labels are read, inferred and described by these four methods only.

    def labels_of_seeds(self, seeds: range, label: int | str | None, model: ImageModel | None = None) -> Tensor | None:
        """Return the class of each seed: the given one, or all in turn; None if the model has no classes."""
        with validating("label"):
            return labels_of_seeds(model or self.model, seeds, label)

    def read_labels(self, labels: Labels | None, num: int, field: str = "labels") -> Tensor | None:
        """Return the class number of each image, or None if no labels are given."""
        with validating(field):
            return as_labels(self.model, labels, num)

    async def infer_labels(self, images: Tensor, given: Tensor | None) -> Tensor | None:
        """Return the given class of each image, or else the most probable; None if the model has no classes."""
        if given is not None or self.model.flow.num_classes is None:
            return given
        return await self.run(generation.infer_labels, images)

    def label_facts(self, labels: Tensor | None) -> dict[str, Any]:
        """Return the metadata of a picture that was made from images of some classes."""
        return {} if labels is None else class_facts(self.model, *labels.tolist())

    async def read(self, texts: Sequence[str], field: str = "images[{}]") -> tuple[Tensor, list[str | None]]:
        """Decode the pictures of a field to the model's shape, (B, C, H, W); return them, and a note on each."""
        self.check_count(len(texts), "images")
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
            settings.check(len(model.flow.latent_shapes), model.flow.num_classes is not None)
        return settings

    def blend_weights(self, positions: Sequence[Sequence[float]], num_images: int) -> Tensor:
        """Return the weights of :func:`~glow_app.generation.blend` for positions between the images."""
        self.check_count(len(positions), "at")
        num_coordinates = {2: 1, 4: 2}.get(num_images)
        if num_coordinates is None:
            raise invalid(f"at: needs 2 or 4 images, got {num_images}")
        if any(len(position) != num_coordinates for position in positions):
            raise invalid(
                f"at: each position between {num_images} images has {pluralise(num_coordinates, 'coordinate')}"
            )
        weights = torch.tensor(positions)[:, None].expand(-1, self.info.num_levels, -1)
        return weights.squeeze(2) if num_coordinates == 1 else weights

    def direction(self, name: str) -> generation.Direction:
        """Return a direction by name."""
        return _named(self.directions, name, "direction")

    def restorer(self, name: str | None) -> Restorer:
        """Return a restorer by name, or the only restorer if the name is None."""
        names = list(self.restorers)
        if name is None and len(names) > 1:
            raise invalid(f"restorer: must be one of {', '.join(names)}")
        return _named(self.restorers, names[0] if name is None and names else name, "restorer")

    def check_count(self, count: int, field: str, largest: int | None = None) -> None:
        """Raise ApiError if a count exceeds the limit."""
        largest = largest or self.limits.count
        if count > largest:
            raise invalid(f"{field}: must be at most {largest}, got {count}")


class SharedModel:
    """Stands in for an :class:`ImageModel`, whose methods have the same arguments and results.

    They block until the worker has computed the rows of the call, so use it from a thread of its own. All else is the
    model's.
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
        labels: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Images:
        """Draw images; they equal those of ``glow sample`` to the last bit."""
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
        """Score images; ``generator`` has a generator per image, as that of the enclosing :func:`record_solves`."""
        model, num, draws = self._model, len(images), []
        choices = model.label_choices(num, labels)
        record = solve_options().record
        assert record is not None
        assert isinstance(record.generator, ImageGenerators)
        noise = record.generator.get_state()  # of trace estimates, the same in all rows
        for _ in range(num_draws):
            y = model.dequantised(images, generator)
            rows = [row for choice in choices for row in _rows(num, y, choice, noise)]
            draws.append(torch.cat(self._results(_level_bits, rows)).unflatten(0, (len(choices), num)))
        return BitsTable(torch.stack(draws), model.num_dims)

    def encode(self, images: Tensor, labels: Labels | None = None) -> list[Tensor]:
        """Encode images; their latents are kept for a while."""
        numbers = as_labels(self._model, labels, len(images))
        rows = _rows(len(images), images, numbers)
        return self._cache.get(images, numbers, lambda: _columns(self._results(_encode, rows)))

    def decode(self, latents: Sequence[Tensor], labels: Labels | None = None, context: Context = None) -> Images:
        """Decode latents."""
        num = len(latents[0])
        if context is None:
            context = self._model.context(num, labels)
        assert context is None or isinstance(context, Tensor)  # feature maps are only those of restorers
        return Images(torch.stack(self._results(_decode, _rows(num, context, *latents))))

    def context(self, *arguments: Any) -> Context:
        """Return the context of a part of a damaged picture."""
        context: Context = self._results(_run_method, [("context", arguments)], is_alone=True)[0]
        return context

    def decode_values(self, *arguments: Any) -> Tensor:
        """Decode a part of a restored picture."""
        values: Tensor = self._results(_run_method, [("decode_values", arguments)], is_alone=True)[0]
        return values

    def _results(self, run: Any, rows: list[Any], is_padded: bool = False, is_alone: bool = False) -> list[Any]:
        call = Call(run, self._model, rows, self._ticket, is_padded, is_alone)
        self._worker.submit(call)
        return call.future.result()


def _named(values: Mapping[str, T], name: str | None, kind: str) -> T:
    if name is None or name not in values:
        raise ApiError(404, f"unknown_{kind}", f"no such {kind}; available: {', '.join(values) or 'none'}")
    return values[name]


def _rows(num: int, *columns: Tensor | None) -> list[tuple[Tensor | None, ...]]:
    return list(zip(*([None] * num if column is None else column.split(1) for column in columns), strict=True))


def _columns(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [None if column[0] is None else torch.cat(column) for column in zip(*rows, strict=True)]


def _sample(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    seeds, temperatures, labels, guidance = zip(*rows, strict=True)
    levels = model.base_noise(seeds)
    factors = torch.tensor(temperatures).to(levels[0])
    scaled = [factors[:, number, None, None, None] * level for number, level in enumerate(levels)]
    context = None if labels[0] is None else model.flow.embed(torch.tensor(labels, device=model.device), guidance)
    return model.decode(scaled, context=context).cpu().unbind()


def _level_bits(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    y, labels, noise = _columns(rows)
    generators = ImageGenerators.of([torch.Generator("cpu") for _ in rows])
    with record_solves(generators.set_state(noise)):
        return model.dequantised_level_bits(y, labels).split(1)


def _encode(model: ImageModel, rows: list[Any]) -> list[tuple[Tensor | None, ...]]:
    return _rows(len(rows), *model.encode(*_columns(rows)))


def _decode(model: ImageModel, rows: list[Any]) -> Sequence[Tensor]:
    context, *latents = _columns(rows)
    return model.decode(latents, context=context).cpu().unbind()


def _run_method(model: ImageModel, rows: list[Any]) -> list[Any]:
    return [getattr(model, name)(*arguments) for name, arguments in rows]
