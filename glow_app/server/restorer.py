"""Restorers: models that restore pictures, run on the thread of the main model."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.restoration import require_size, require_task
from glow_app.server.decoder import Decoded
from glow_app.server.errors import refused
from glow_app.server.schemas import RestoreRequest, RestorerInfo
from glow_app.storage.stored_model import model_hash

_HALF_MISSING = torch.tensor([[[0, 255]]], dtype=torch.uint8)


def described(model: ImageModel) -> dict[str, Any]:
    """Return what ``/v1/info`` says of the main model and of each restorer."""
    return {
        "model": model_hash(model),
        "image_shape": model.flow.image_shape,
        "num_classes": model.flow.num_classes,
        "classes": list(model.class_names) or None,
    }


class Restorer:
    """A model with a task, and its entry in ``/v1/info``."""

    def __init__(self, name: str, model: ImageModel) -> None:
        self.name, self.model, self.task = name, model, require_task(model)
        if not model.flow.any_size:
            raise ValueError(
                f"the restorer {name} takes pictures of one size only; expected a model with a Gaussian prior"
            )
        self.channels = self.task.picture_channels(model.flow.image_shape[0])
        self.info = RestorerInfo(
            name=name,
            task=type(self.task).__name__,
            factor=self.task.factor,
            channels=self.channels,
            takes=list(self.task.takes),
            temperature=model.generation.to_plain()["temperature"],
            **described(model),
        )

    def bounds(self, body: RestoreRequest, restored_pixels: int) -> tuple[int, str]:
        """Return the maximum number of pixels of a request's pictures, and a phrase for messages; check the others."""
        with refused():
            any_picture = torch.zeros(self.channels, 1, 2, dtype=torch.uint8)
            self.task.prepare(any_picture, None if body.mask is None else _HALF_MISSING, body.sigma)
        factor = self.task.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        return restored_pixels // (body.count * factor**2), f" for {pluralise(body.count, 'draw')}{enlarged}"

    def restore(
        self,
        model: ImageModel,
        body: RestoreRequest,
        picture: Decoded,
        mask: Tensor | None,
        seeds: Sequence[int],
        labels: Tensor | None,
    ) -> tuple[restoration.Restoration, str | None]:
        """Return possible originals of a damaged picture, with all facts, and a note; ``model`` is the stand-in."""
        with refused():
            require_size(self.model, len(seeds), *picture.image.shape[1:])
            damaged = self.task.prepare(picture.image, mask, body.sigma)
        restored = restoration.restore(model, damaged, len(seeds), body.temperature, seeds, labels)
        origin = {"restorer": self.name, "model": self.info.model, "version": __version__}
        draws = Images(restored.draws, [facts | origin for facts in restored.draws.facts])
        note = ", ".join(filter(None, [picture.note, self.task.note(damaged)])) or None
        return replace(restored, draws=draws), note
