"""Restorers: models that restore pictures, run on the thread of the main model."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.messages import pluralise
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import to_pil
from glow_app.pictures.picture_file import PictureFile
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
        self, body: RestoreRequest, decoder: Decoder, kind: str, restored_pixels: int
    ) -> tuple[PictureFile, dict[str, Tensor | float]]:
        """Decode the picture and further inputs of a request whose draws may have ``restored_pixels`` in total.

        Results have the format ``kind``.
        """
        factor = self.task.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        bounds = restored_pixels // (body.count * factor**2), f" for {pluralise(body.count, 'draw')}{enlarged}"
        inputs: dict[str, Tensor | float] = {}
        for name, value in body.inputs.items():
            taken = self.task.takes.get(name)
            if value is None:
                continue
            if taken is None:
                raise invalid(f"inputs.{name}: {self.info.task} takes no such input; leave it out")
            if isinstance(value, (str, bytes)) != (taken == "picture"):
                raise invalid(f"inputs.{name}: expected a {taken}")
            if isinstance(value, (str, bytes)):
                file = await decoder.read_file(f"inputs.{name}", value, 1, "png", *bounds, keeps_alpha=False)
                inputs[name] = torch.from_numpy(file.photo.pixels)
            else:
                inputs[name] = value
        file = await decoder.read_file(
            "image",
            body.image,
            self.info.channels,
            kind,
            *bounds,
            count=body.count,
            factor=factor,
            frame=body.frame,
            strips=body.strip,
        )
        adds_colours = self.info.channels < self.model.flow.image_shape[0]
        return replace(file, is_grey=file.is_grey and not adds_colours), inputs

    def restore(
        self,
        settings: GenerationSettings,
        picture: PictureFile,
        inputs: Mapping[str, Tensor | float],
        seeds: range,
        run_steps: Callable[[Iterator[None], int], Iterable[None]],
        force: bool,
    ) -> restoration.Restoration:
        """Return the restoration of a picture; ``run_steps`` is that of the worker."""
        with validating("inputs"):
            pixels = torch.from_numpy(picture.photo.pixels).expand(self.info.channels, -1, -1)
            damaged = self.task.prepare(pixels, **inputs)
        options = len(seeds), settings.temperature, seeds, self.task, run_steps, force
        with validating():
            restored = restoration.restore_damaged(self.model, damaged, *options)
        origin = {"restorer": self.info.name, "model": self.info.model, "version": __version__}
        draws = Images(restored.draws, [facts | origin for facts in restored.draws.facts])
        lost = picture.photo.note
        if lost and picture.is_kept(to_pil(draws[0])):
            lost = None
        note = ", ".join(filter(None, [lost, restored.note])) or None
        return replace(restored, draws=draws, note=note)

    def answer(
        self, restored: restoration.Restoration, picture: PictureFile, settings: GenerationSettings
    ) -> RestoreAnswer:
        """Return the JSON about a restoration."""
        common = {"restorer": self.info.name, **restored.facts}
        return RestoreAnswer(
            images=sampled(restored.draws, picture),
            mean=Picture(restored.mean, common, picture),
            base=Picture(restored.base, common, picture),
            spread=Picture(restored.shown_spread, common),
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            facts=restored.facts,
            temperature=settings.temperatures(len(self.model.flow.latent_shapes)),
            note=restored.note,
            restorer=self.info.name,
            model=self.info.model,
        )
