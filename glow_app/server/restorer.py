"""Restorers: models that restore pictures, run on the thread of the main model."""

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.restoration import require_size, require_task
from glow_app.server.answers import validating
from glow_app.server.decoder import Decoded
from glow_app.server.schemas import Picture, RestoreAnswer, RestoreRequest, RestorerInfo, describe, sampled

_HALF_MISSING = torch.tensor([[[0, 255]]], dtype=torch.uint8)


class Restorer:
    """A model with a task, and its entry in ``/v1/info``."""

    def __init__(self, name: str, model: ImageModel) -> None:
        self.model, self.task = model, require_task(model)
        if not model.flow.any_size:
            raise ValueError(f"the restorer {name} restores only one size; expected a model with a Gaussian prior")
        self.channels = self.task.picture_channels(model.flow.image_shape[0])
        self.info = RestorerInfo(
            name=name,
            task=type(self.task).__name__,
            factor=self.task.factor,
            channels=self.channels,
            takes=list(self.task.takes),
            temperature=model.generation.to_plain()["temperature"],
            **describe(model),
        )

    def bounds(self, body: RestoreRequest, restored_pixels: int) -> tuple[int, str]:
        """Return the maximum number of pixels of a request's pictures, and the end of the message for larger ones.

        It also checks which fields the task takes, before any picture is decoded.
        """
        with validating():
            any_picture = torch.zeros(self.channels, 1, 2, dtype=torch.uint8)
            self.task.prepare(any_picture, None if body.mask is None else _HALF_MISSING, body.sigma)
        factor = self.task.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        return restored_pixels // (body.count * factor**2), f" for {pluralise(body.count, 'draw')}{enlarged}"

    def restore(
        self,
        model: ImageModel,
        body: RestoreRequest,
        temperatures: list[float],
        picture: Decoded,
        mask: Decoded | None,
        seeds: range,
        labels: Tensor | None,
    ) -> tuple[RestoreAnswer, Images]:
        """Return the answer to a request, and the draws in it; ``model`` stands in for this model."""
        with validating():
            require_size(self.model, len(seeds), *picture.image.shape[1:])
            damaged = self.task.prepare(picture.image, None if mask is None else mask.image, body.sigma)
        restored = restoration.restore(model, damaged, len(seeds), body.temperature, seeds, labels)
        origin = {"restorer": self.info.name, "model": self.info.model, "version": __version__}
        draws, profile = Images(restored.draws, [facts | origin for facts in restored.draws.facts]), picture.icc_profile
        common = {name: value for name, value in draws.facts[0].items() if name in ("restorer", "sigma")}
        answer = RestoreAnswer(
            images=sampled(draws, profile),
            mean=Picture(restored.mean, common, profile),
            given=Picture(restored.given, common, profile),
            spread=Picture(restored.shown_spread, common, profile),
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            sigma=common.get("sigma"),
            temperature=temperatures,
            note=", ".join(filter(None, [picture.note, self.task.note(damaged)])) or None,
            restorer=self.info.name,
            model=self.info.model,
        )
        return answer, draws
