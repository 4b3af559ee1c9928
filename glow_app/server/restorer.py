"""Restorers: models that restore pictures, run on the thread of the main model."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from glow_app import __version__, restoration
from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.picture_file import PictureFile
from glow_app.pipeline.sampling import draw_settings
from glow_app.restoration import require_task, task_of
from glow_app.server.answers import invalid, validating
from glow_app.server.bodies import Upload
from glow_app.server.decoder import Decoder
from glow_app.server.info import RestorerInfo
from glow_app.server.schemas import Picture, RestoreAnswer, RestoreRequest, sampled

_LARGEST_SIDES = {"webp": 16_383, "jpeg": 65_535}  # pixels, of the formats


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


@dataclass(frozen=True)
class RestorerChain:
    """Restorers of a request, each of which restores what the one before it gives."""

    restorers: Sequence[Restorer]

    @property
    def factor(self) -> int:
        """Ratio of the sides of the restored picture to those of the damaged one."""
        return math.prod(restorer.task.factor for restorer in self.restorers)

    def temperatures(self, temperature: float | Sequence[float] | None) -> list[float]:
        """Return the temperature of each level of the last one; raise ValueError if it is not possible."""
        model = self.restorers[-1].model
        return draw_settings(model, temperature).temperatures(len(model.flow.latent_shapes))

    async def read(
        self, body: RestoreRequest, decoder: Decoder, kind: str, restored_pixels: int
    ) -> tuple[PictureFile, dict[str, Tensor | float]]:
        """Decode the picture and further inputs of a request whose draws may have ``restored_pixels`` in total.

        Results have the format ``kind``.
        """
        first, factor = self.restorers[0], self.factor
        enlarged = "" if factor == 1 else f" of {factor} times the width and height"
        bounds = restored_pixels // (body.count * factor**2), f" for {pluralise(body.count, 'draw')}{enlarged}"
        inputs: dict[str, Tensor | float] = {}
        for name, value in body.inputs.items():
            taken = first.task.takes.get(name)
            if value is None:
                continue
            if taken is None:
                raise invalid(f"inputs.{name}: {first.info.task} takes no such input; leave it out")
            if isinstance(value, Upload) != (taken == "picture"):
                raise invalid(f"inputs.{name}: expected a {taken}")
            if isinstance(value, Upload):
                grey: dict[str, Any] = {"num_channels": 1, "kind": "png", "keeps_alpha": False}
                file = await decoder.read_file(f"inputs.{name}", value.content, *bounds, **grey)
                value.drop()
                inputs[name] = torch.from_numpy(file.photo.pixels)
            else:
                inputs[name] = value
        kept: dict[str, Any] = {"num_channels": first.info.channels, "kind": kind, "factor": factor}
        kept |= {"frame": body.frame, "strips": body.strip}
        file = await decoder.read_file("image", body.image.content, *bounds, body.count, **kept)
        body.image.drop()
        if factor * max(file.photo.pixels.shape) > (most := _LARGEST_SIDES.get(kind, math.inf)):
            raise invalid(f"image: enlarged, a side has more than the {most:,} pixels of {kind}; accept image/png")
        adds_colours = any(each.info.channels < each.model.flow.image_shape[0] for each in self.restorers)
        return replace(file, is_grey=file.is_grey and not adds_colours), inputs

    def restore(
        self,
        body: RestoreRequest,
        temperature: float | Sequence[float] | None,
        file: PictureFile,
        inputs: Mapping[str, Tensor | float],
        seed: int,
        run_steps: Callable[..., Iterable[None]],
    ) -> restoration.Restoration:
        """Return the restoration of a picture; ``run_steps`` is that of the model's thread."""
        first = self.restorers[0]
        with validating("inputs"):
            pixels = torch.from_numpy(file.photo.pixels).expand(first.info.channels, -1, -1)
            damaged = first.task.prepare(pixels, **inputs)
        steps = [(each.model, each.task) for each in self.restorers]
        with validating():
            restored = restoration.restore_successively(
                steps, damaged, body.count, temperature, seed, body.force, run_steps
            )
        origin = self._names | {"version": __version__}
        draws = Images(restored.draws, [facts | origin for facts in restored.draws.facts])
        return replace(restored, draws=draws, note=restoration.note_on_results(restored, file))

    def answer(self, restored: restoration.Restoration, file: PictureFile, temperatures: list[float]) -> RestoreAnswer:
        """Return the JSON about a restoration."""
        common = {"restorer": self._names["restorer"], **restored.facts}
        return RestoreAnswer(
            images=sampled(restored.draws, file),
            mean=Picture(restored.mean, common, file),
            base=Picture(restored.base, common, file),
            spread=Picture(restored.shown_spread, common),
            overshoot=restored.overshoot.nan_to_num().tolist(),  # JSON has no infinity
            facts=restored.facts,
            temperature=temperatures,
            note=restored.note,
            **self._names,
        )

    @property
    def _names(self) -> dict[str, str]:
        infos = [restorer.info for restorer in self.restorers]
        return {"restorer": ", ".join(info.name for info in infos), "model": ", ".join(info.model for info in infos)}
