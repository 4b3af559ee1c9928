"""Restorers: models that restore pictures, run on the thread of the main model."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.flows.context import Context
from glow_app.messages import pluralise
from glow_app.models.class_labels import Labels
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.restoration import require_size, require_task
from glow_app.server.calls import Call, Run, Turn
from glow_app.server.decoder import Decoded
from glow_app.server.errors import invalid
from glow_app.server.schemas import RestoreRequest, RestorerInfo
from glow_app.server.worker import ModelWorker
from glow_app.storage.pretrained import model_hash

_HALF_MISSING = torch.tensor([[[0, 255]]], dtype=torch.uint8)


class Restorer:
    """A model with a task, and its entry in ``/v1/info``.

    Args:
        name: Name in the API.
        model: A model with a task.
    Raises:
        ValueError: If the model has no task, or is limited to a single size.
    """

    def __init__(self, name: str, model: ImageModel) -> None:
        task = require_task(model)
        if not model.flow.any_size:
            raise ValueError(
                f"the restorer {name} takes pictures of one size only; expected a model with a Gaussian prior"
            )
        self.name, self.model, self.task = name, model, task
        self.channels = self.task.picture_channels(model.flow.image_shape[0])
        self.info = RestorerInfo(
            name=name,
            task=type(self.task).__name__,
            factor=self.task.factor,
            channels=self.channels,
            takes=list(self.task.takes),
            image_shape=list(model.flow.image_shape),
            model=model_hash(model),
            num_classes=model.flow.num_classes,
            classes=list(model.class_names) or None,
            temperature=model.generation.to_plain()["temperature"],
        )

    def scale(self, count: int) -> tuple[int, str]:
        """Return the restored pixels of ``count`` draws per pixel of a picture, and a phrase for messages."""
        factor = self.task.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        return count * factor**2, f" for {pluralise(count, 'draw')}{enlarged}"

    def require_options(self, body: RestoreRequest) -> None:
        """Refuse a missing or unsupported mask, or an unsupported or invalid sigma, before pictures are decoded.

        Raises:
            ApiError: 422.
        """
        picture = torch.zeros(self.channels, 1, 2, dtype=torch.uint8)  # any picture will do
        try:
            self.task.prepare(picture, None if body.mask is None else _HALF_MISSING, body.sigma)
        except ValueError as error:  # with a message of our own
            raise invalid(str(error)) from error

    def restore(
        self,
        worker: ModelWorker,
        turn: Turn,
        body: RestoreRequest,
        pictures: Sequence[Decoded],
        seeds: Sequence[int],
        labels: list[int] | None,
    ) -> tuple[restoration.Restoration, str | None]:
        """Return possible originals of a damaged picture, with all facts, and a note; the worker runs the model.

        Args:
            worker: Worker of the main model.
            turn: Turn of the request.
            body: The request.
            pictures: The damaged picture and, if the request has one, the mask.
            seeds: Seeds of the draws.
            labels: Classes of the draws, for a class-conditional model.
        Raises:
            ApiError: 422 if the mask does not fit, or the restored picture would be too large for any limit.
        """
        picture, mask = pictures[0].image, pictures[1].image if len(pictures) == 2 else None
        try:
            require_size(self.model, len(seeds), *picture.shape[1:])
            damaged = self.task.prepare(picture, mask, body.sigma)
        except ValueError as error:  # with a message of our own
            raise invalid(str(error)) from error
        shared = cast(ImageModel, SharedRestorer(self, worker, turn))
        classes = None if labels is None else torch.tensor(labels)
        restored = restoration.restore(shared, damaged, len(seeds), body.temperature, seeds, classes)
        origin = {"restorer": self.name, "model": self.info.model, "version": __version__}
        facts = [draw_facts | origin for draw_facts in restored.draws.facts]
        notes = filter(None, [pictures[0].note, self.task.note(damaged)])
        return replace(restored, draws=Images(restored.draws, facts)), ", ".join(notes) or None

    def contexts(self, _: ImageModel, rows: list[Any], __: int) -> list[Context]:
        """Return :meth:`ImageModel.context` of each row of arguments; the ``run`` of a :class:`Call`."""
        return [self.model.context(*row) for row in rows]

    def decode_values(self, _: ImageModel, rows: list[Any], __: int) -> list[Tensor]:
        """Return :meth:`ImageModel.decode_values` of each row of arguments; the ``run`` of a :class:`Call`."""
        return [self.model.decode_values(*row) for row in rows]


class SharedRestorer:
    """Stands in for a restorer's model in :func:`~glow_app.restoration.restore`.

    Use it from a thread of its own: methods that compute a tile block until the worker, which serves short calls of
    other requests in between, has run them.

    Args:
        restorer: The restorer to use.
        worker: The worker that runs it.
        turn: Turn of the request.
    """

    def __init__(self, restorer: Restorer, worker: ModelWorker, turn: Turn) -> None:
        self._restorer, self._worker, self._turn = restorer, worker, turn

    def __getattr__(self, name: str) -> Any:
        return getattr(self._restorer.model, name)

    def context(self, num: int, labels: Labels | None, condition: Tensor) -> Context:
        """See :meth:`ImageModel.context <glow_app.models.image_model.ImageModel.context>`."""
        context: Context = self._wait_for(self._restorer.contexts, condition[0, 0].numel(), num, labels, condition)
        return context

    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """See :meth:`ImageModel.decode_values <glow_app.models.image_model.ImageModel.decode_values>`."""
        pixels = 4 * latents[0][:, 0].numel()
        values: Tensor = self._wait_for(self._restorer.decode_values, pixels, latents, context)
        return values

    def _wait_for(self, run: Run, pixels: int, *row: Any) -> Any:
        work = pixels / math.prod(self._worker.model.flow.image_shape[1:])
        call = Call(run, [row], self._turn, work=work, is_alone=True)
        self._worker.submit(call)
        return call.future.result()[0]
