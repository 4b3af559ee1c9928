"""Restorers: models that restore pictures, which the thread of the main model uses too."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from glow_app import __version__, generation
from glow_app.flows.context import Context
from glow_app.generation.restore import require_size, require_task
from glow_app.messages import pluralise
from glow_app.models.class_labels import Labels
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.server.calls import Call, Run, Turn
from glow_app.server.decoder import Decoded
from glow_app.server.errors import invalid
from glow_app.server.schemas import RestoreRequest, RestorerInfo
from glow_app.server.worker import ModelWorker
from glow_app.storage.pretrained import model_hash

_HALF_MISSING = torch.tensor([[[0, 255]]], dtype=torch.uint8)


class Restorer:
    """A model with a task, and what ``/v1/info`` says of it.

    Args:
        name: In the API.
        model: With a task.
    Raises:
        ValueError: If the model has no task, or takes pictures of one size only.
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
        """Return the pixels of so many draws per pixel of a picture, and words for them, to end a message with."""
        factor = self.task.factor
        larger = "" if factor == 1 else f" of {factor} times the width and height"
        return count * factor**2, f" for {pluralise(count, 'draw')}{larger}"

    def require_options(self, body: RestoreRequest) -> None:
        """Refuse a mask or sigma that the task does not take, or needs, before pictures are decoded.

        Raises:
            ApiError: 422.
        """
        # The task itself says so, of any picture.
        picture = torch.zeros(self.channels, 1, 2, dtype=torch.uint8)
        try:
            self.task.prepare(picture, None if body.mask is None else _HALF_MISSING, body.sigma)
        except ValueError as error:  # whose message is ours
            raise invalid(str(error)) from error

    def restore(
        self,
        worker: ModelWorker,
        turn: Turn,
        body: RestoreRequest,
        pictures: Sequence[Decoded],
        seeds: Sequence[int],
        labels: list[int] | None,
    ) -> tuple[generation.Restoration, str | None]:
        """Return draws of the original of a damaged picture, with all facts, and a note; the worker runs the model.

        Args:
            worker: Thread of the main model.
            turn: Turn of the request.
            body: The request.
            pictures: The damaged picture and, if the request has one, the mask.
            seeds: One per draw.
            labels: One per draw, for a class-conditional model.
        Raises:
            ApiError: 422 if the mask does not fit, or the picture would be larger than can be restored at all.
        """
        picture, mask = pictures[0].image, pictures[1].image if len(pictures) == 2 else None
        try:
            require_size(self.model, len(seeds), *picture.shape[1:])
            damaged = self.task.prepare(picture, mask, body.sigma)
        except ValueError as error:  # whose message is ours
            raise invalid(str(error)) from error
        shared = cast(ImageModel, SharedRestorer(self, worker, turn))
        classes = None if labels is None else torch.tensor(labels)
        restored = generation.restore(shared, damaged, len(seeds), body.temperature, seeds, classes)
        made = {"restorer": self.name, "model": self.info.model, "version": __version__}
        facts = [drawn | made for drawn in restored.draws.facts]
        notes = filter(None, [pictures[0].note, self.task.note(damaged)])
        return replace(restored, draws=Images(restored.draws, facts)), ", ".join(notes) or None

    def contexts(self, _: ImageModel, rows: list[Any], __: int) -> list[Context]:
        """Return the context of each row, the arguments of :meth:`ImageModel.context`: a run of :class:`Call`."""
        return [self.model.context(*row) for row in rows]

    def decode_values(self, _: ImageModel, rows: list[Any], __: int) -> list[Tensor]:
        """Return the values of each row, the arguments of :meth:`ImageModel.decode_values`: a run of :class:`Call`."""
        return [self.model.decode_values(*row) for row in rows]


class SharedRestorer:
    """Stands in for a restorer in :func:`generation.restore <glow_app.generation.restore>`, on a thread of its own.

    The methods that compute a tile wait for the worker, which serves short calls of others in between.

    Args:
        restorer: To use.
        worker: Uses it.
        turn: Of the request.
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
