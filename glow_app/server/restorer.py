"""Restorers: models that restore pictures, run on the thread of the main model."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.data.decoding import Photo
from glow_app.messages import pluralise
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.restoration import require_task, task_of
from glow_app.server.answers import invalid, validating
from glow_app.server.decoder import Decoder
from glow_app.server.info import RestorerInfo
from glow_app.server.schemas import Picture, RestoreAnswer, RestoreRequest, sampled


class Restorer:
    """A model with a task, and its entry in ``/v1/info``."""

    def __init__(self, name: str, model: ImageModel, source: str | None = None) -> None:
        self.model, self.task = model, require_task(model)
        if not model.flow.any_size and task_of(model) is not None:
            raise ValueError(f"the restorer {name} restores only one size; expected a model with a Gaussian prior")
        self.info = RestorerInfo(
            name=name,
            model=model.hash,
            source=source,
            task=type(self.task).__name__,
            factor=self.task.factor,
            channels=self.task.picture_channels(model.flow.image_shape[0]),
            takes=dict(self.task.takes),
            decides=self.task.least_change > 0,
            temperature=model.generation.to_plain()["temperature"],
        )

    async def read(
        self, body: RestoreRequest, decoder: Decoder, restored_pixels: int
    ) -> tuple[Photo, dict[str, Tensor | float]]:
        """Decode the picture and further inputs of a request whose draws may have ``restored_pixels`` in total."""
        factor = self.task.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        bounds = restored_pixels // (body.count * factor**2), f" for {pluralise(body.count, 'draw')}{enlarged}"
        inputs: dict[str, Tensor | float] = {}
        for name, value in body.inputs.items():
            kind = self.task.takes.get(name)
            if value is None:
                continue
            if kind is None:
                raise invalid(f"inputs.{name}: {self.info.task} takes no such input; leave it out")
            if isinstance(value, (str, bytes)) != (kind == "picture"):
                raise invalid(f"inputs.{name}: expected a {kind}")
            if isinstance(value, (str, bytes)):
                inputs[name] = torch.from_numpy((await decoder.read(f"inputs.{name}", value, (1,), *bounds)).pixels)
            else:
                inputs[name] = value
        return await decoder.read("image", body.image, (self.info.channels,), *bounds), inputs

    def restore(
        self,
        settings: GenerationSettings,
        picture: Photo,
        inputs: Mapping[str, Tensor | float],
        seeds: range,
        run_steps: Callable[[Iterator[None], int], Iterable[None]],
        force: bool,
    ) -> tuple[RestoreAnswer, Images]:
        """Return the answer to a request, and the draws in it; ``run_steps`` is that of the worker."""
        with validating("inputs"):
            damaged = self.task.prepare(torch.from_numpy(picture.pixels), **inputs)
        options = len(seeds), settings.temperature, seeds, self.task, run_steps, force
        with validating():
            restored = restoration.restore_damaged(self.model, damaged, *options)
        origin = {"restorer": self.info.name, "model": self.info.model, "version": __version__}
        draws, profile = Images(restored.draws, [facts | origin for facts in restored.draws.facts]), picture.icc_profile
        common = {"restorer": self.info.name, **restored.facts}
        answer = RestoreAnswer(
            images=sampled(draws, profile),
            mean=Picture(restored.mean, common, profile),
            base=Picture(restored.base, common, profile),
            spread=Picture(restored.shown_spread, common, profile),
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            facts=restored.facts,
            temperature=settings.temperatures(len(self.model.flow.latent_shapes)),
            note=", ".join(filter(None, [picture.note, restored.note])) or None,
            restorer=self.info.name,
            model=self.info.model,
        )
        return answer, draws
