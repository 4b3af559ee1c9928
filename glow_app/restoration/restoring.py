"""Restoration of damaged pictures of any size by a model with a task."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from glow_app.data.resizing import image_to_array
from glow_app.flows import WaveletFlow
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import to_pil
from glow_app.pictures.inputs import Picture
from glow_app.pictures.panels import contact_sheet
from glow_app.restoration.colourise import luma
from glow_app.restoration.decision import block_changes, correct_in_part, decision_in_words, is_clean, shares_to_correct
from glow_app.restoration.encoder import base_picture
from glow_app.restoration.enlarging import DetailDraws, Enlarge
from glow_app.restoration.picture_conditioning import picture_conditioning_of
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.restoration.tiles import TILE, decode_in_tiles, estimate_in_tiles, num_tiles, slices
from glow_app.seeding import one_seed_each

# Restored pixels per step: draws of small pictures are batched, those of larger ones run one by one. On a CPU larger
# steps are no faster, and a server can answer other requests between steps.
_PIXELS_AT_A_TIME, _PIXELS_ON_GPU = 1 << 16, 1 << 22

# Maximum number of values in a group of draws, which shares the feature maps; the noise takes 4 bytes per value.
_VALUES_TOGETHER = 1 << 25

# Limits of the pixels of a restored picture and of the bytes of its draws; working memory adds some 30 bytes per pixel.
_MOST_PIXELS, _MOST_BYTES = 1 << 27, 1 << 31
_MOST_ENLARGED = 1 << 22  # pixels of a picture that a wavelet flow enlarges, which is not done in tiles
_LEAST_SIDE = 32  # of what the encoder sees; it takes the borders of smaller pictures for damage
_MOST_PIXELS_ON_SHEET = 1 << 18  # of each picture on a sheet


@dataclass(frozen=True)
class Restoration:
    """Draws of possible originals of a damaged picture.

    Args:
        draws: uint8 (N, C, H, W); they agree with all that the damaged picture determines.
        base: Picture in the condition of the flow, such as the bicubic enlargement, uint8 (C, H, W).
        overshoot: Largest overshoot of each draw beyond black and white before clipping, grey levels, (N,). Tens are
            usual next to black and white; parts above 64 were drawn again with less noise.
        facts: For tasks with limits, the expected "change", root mean square, grey levels.
        note: What was decided, of a task with a ``least_change``; or that the picture differs from those of training.
        is_clean: Whether it was decided that nothing has to change.
    """

    draws: Images
    base: Tensor = field(repr=False)
    overshoot: Tensor = field(repr=False)
    facts: dict[str, float]
    note: str | None
    is_clean: bool

    @property
    def mean(self) -> Tensor:
        """Mean of the draws per pixel, uint8 (C, H, W)."""
        return self._by_rows(lambda draws: draws.mean(0).round().to(torch.uint8))

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the draws per pixel, averaged over channels, float (1, H, W), grey levels.

        It shows the uncertainty of the model: 0 where all draws agree. Few draws underestimate it: 4 by 13 %.
        """
        return self._by_rows(lambda draws: draws.std(0, correction=0).mean(0, keepdim=True))

    @property
    def shown_spread(self) -> Tensor:
        """The spread as a picture, uint8 (1, H, W): black where all draws agree, white from 32 grey levels on."""
        return (8 * self.spread).clamp(max=255).round().to(torch.uint8)

    def sheet(self, original: Tensor | None = None, base_name: str = "") -> Image.Image:
        """Return base, up to four draws, mean and spread of several, and original with labels; reduced if large."""
        shown = [(("given", base_name), self.base)]
        shown += [((f"draw {n + 1}", f"seed {draw.seeds[0]}"), draw) for n, draw in enumerate(self.draws[:4])]
        if len(self.draws) > 1:
            shown.append((("mean", f"of {len(self.draws):,} draws"), self.mean))
            shown.append((("spread", "white from 32 grey levels"), self.shown_spread.expand_as(self.base)))
        shown += [] if original is None else [(("original", ""), original)]
        captions, pictures = zip(*shown, strict=True)
        step = math.ceil(math.sqrt(self.base[0].numel() / _MOST_PIXELS_ON_SHEET))
        reduced = [torch.from_numpy(image_to_array(to_pil(picture).reduce(step)).copy()) for picture in pictures]
        return contact_sheet(torch.stack(reduced), captions, len(shown) if len(shown) < 6 else -(-len(shown) // 2))

    def _by_rows(self, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """Reduce the draws to one picture, a few rows at a time, because floats take four times the memory."""
        rows = max(1, 4 * _PIXELS_AT_A_TIME // self.draws[:, :, :1].numel())
        return torch.cat([reduce(part.float()) for part in self.draws.split(rows, dim=2)], dim=1)


def restore(
    model: ImageModel,
    picture: Picture,
    count: int = 4,
    temperature: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    factor: int | None = None,
    force: bool = False,
    **inputs: Any,
) -> Restoration:
    """Draw possible originals of a damaged picture of any size; see :func:`restore_damaged`.

    At temperature 0, all draws are the encoder's estimate: the mean of all possible originals, as far as it was learnt,
    which has the least squared error. This does not use the flow.

    A wavelet flow enlarges pictures: their pixels are the means of those of the draws, whose details it draws.

    Args:
        model: A model with a task, or a wavelet flow.
        picture: A picture in any form that :meth:`RestorationTask.read
            <glow_app.restoration.RestorationTask.read>` takes, such as a file name.
        temperature: As for :meth:`LoadedModel.sample <glow_app.pipeline.loaded_model.LoadedModel.sample>`.
        seeds: As for ``sample``.
        factor: Factor of the sides, for a wavelet flow: 2, 4 and so on; 4 if None.
        force: Whether to correct all of the picture at temperature 0, also where it seems to be clean.
        inputs: Further inputs of the task: for filling, ``mask``, a picture of the same size, white where
            pixels are missing.
    Raises:
        ValueError: If the model has no task, the task does not take an argument, or the picture cannot be read, is a
            tensor of another type or shape, or is too large.
    """
    task = require_task(model, factor)
    damaged = task.read(picture, model.flow.image_shape[0], **inputs)
    return restore_damaged(model, damaged, count, temperature, seeds, task, force=force)


@torch.no_grad()
def restore_damaged(
    model: ImageModel,
    damaged: Tensor,
    count: int = 4,
    temperature: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    task: RestorationTask | None = None,
    track: Callable[[Iterator[None], int], Iterable[None]] | None = None,
    force: bool = False,
) -> Restoration:
    """Draw possible originals of a picture as :meth:`RestorationTask.damage` returns it, uint8 (D, h, w).

    The picture is padded to sides that the flow can halve; a large one is decoded in overlapping tiles, which share the
    base noise of the whole picture and are blended where they overlap. Draws of a picture that is grey throughout are
    grey too, unless the task is to colour it. At temperature 0, a picture that would hardly change is returned
    unchanged, and one of which only a part would change much is corrected there. Arguments are as for :func:`restore`;
    ``task`` is from :func:`require_task`; ``track`` runs the steps, given an iterator over them and their number, such
    as :func:`~glow_app.progress.tracked`.
    """
    task, num_channels = task or require_task(model), model.flow.image_shape[0]
    require_at_least(1, count=count)
    require_size(model, task, count, damaged.shape[1], damaged.shape[2])
    condition = task.condition(damaged[None])
    if condition.shape[1] != (channels := task.condition_channels(num_channels)):
        raise ValueError(f"the condition has {condition.shape[1]} channels; expected {channels}")
    seeds = one_seed_each(count, seeds)
    settings = model.generation.override(temperature, 1.0)  # without guidance
    kind = DetailDraws if isinstance(task, Enlarge) else _Drawing
    drawing = kind(model, task, damaged, condition, seeds, settings)  # type: ignore[arg-type]
    base, decides = base_picture(condition, num_channels)[0], drawing.is_certain and task.least_change > 0 and not force
    if decides and is_clean(model, condition, task.least_change):
        drawing.draws.copy_(base)
        changes = shares = torch.zeros(1, 1, 1, 1)
    else:
        for _ in drawing.steps() if track is None else track(drawing.steps(), drawing.num_steps):
            pass
        changes = block_changes(drawing.estimate, base_picture(drawing.condition, num_channels)[0])
        shares = torch.ones_like(changes)
        if decides:
            shares = shares_to_correct(changes, task.least_change)
            correct_in_part(drawing.draws[0], base, shares)
            drawing.draws[1:] = drawing.draws[0]
    note = decision_in_words(shares) if task.least_change > 0 else None
    if (usual := float(changes.median().sqrt())) > task.most_change:
        note = f"it changes by {usual:.0f} grey levels, but the model was trained for up to {task.most_change:g}"
    is_limited = task.least_change > 0 or task.most_change < math.inf
    change_facts = {"change": round(float((shares.square() * changes).mean().sqrt()), 2)} if is_limited else {}
    facts = [fact | change_facts for fact in settings.facts_of_draws(seeds)]
    return Restoration(Images(drawing.draws, facts), base, drawing.overshoot, change_facts, note, not shares.any())


class _Drawing:
    """Draws of a damaged picture and the encoder's estimate, which the steps write.

    Args:
        condition: What the flow sees of the damaged picture, (1, D, H, W).
    Attributes:
        condition: The condition, padded.
        draws: uint8 (N, C, H, W).
        estimate: uint8 (C, H, W), padded.
    """

    def __init__(
        self,
        model: ImageModel,
        task: RestorationTask,
        damaged: Tensor,
        condition: Tensor,
        seeds: Sequence[int],
        settings: GenerationSettings,
    ) -> None:
        num_channels, num_levels, count = model.flow.image_shape[0], len(model.flow.levels), len(seeds)
        self._model, self._task, self._damaged, self._seeds = model, task, damaged, seeds
        self._temperature, self.is_certain = settings.temperature, not any(settings.temperatures(num_levels))
        is_coloured = len(damaged) >= task.picture_channels(num_channels) == 3
        self._is_grey = is_coloured and bool((damaged[1:3] == damaged[:1]).all())
        self.draws = torch.empty(count, num_channels, *condition.shape[2:], dtype=torch.uint8)
        self.overshoot, self.condition = torch.zeros(count), _padded(condition, 2**num_levels)
        num_pixels = self.condition[0, 0].numel()
        on_cpu = model.device.type == "cpu"
        self._at_a_time = max(1, (_PIXELS_AT_A_TIME if on_cpu else _PIXELS_ON_GPU) // num_pixels)
        together = max(self._at_a_time, _VALUES_TOGETHER // (num_channels * num_pixels))
        self._groups = slices(count, count if self.is_certain else together)

    @property
    def num_steps(self) -> int:
        """Number of steps: tiles of estimates and of draws, and draws."""
        parts = sum(len(slices(len(self._seeds[group]), self._at_a_time)) for group in self._groups)
        tiles = len(self._groups) + (0 if self.is_certain else parts)
        return tiles * num_tiles(*self.condition.shape[2:]) + len(self.draws)

    def steps(self) -> Iterator[None]:
        """Write estimate and draws, a part at a time."""
        for group in self._groups:
            num = 0 if self.is_certain else len(self._seeds[group])
            images = torch.empty(1 + num, *self.draws.shape[1:2], *self.condition.shape[2:], dtype=torch.uint8)
            yield from self._tiles(group, images)
            results = images[1:] if num else images.expand(len(self.draws), -1, -1, -1)
            for draw, image in zip(self.draws[group], results, strict=True):
                self._finish(image[None], draw)
                yield  # task.reconcile takes a while for a large picture
        self.estimate = images[0]  # of all groups the same

    def _tiles(self, group: slice, images: Tensor) -> Iterator[None]:
        """Return the steps that write the estimate, and the draws of a group unless they equal it."""
        if self.is_certain:
            return estimate_in_tiles(self._model, self.condition, images)
        height, width = self.condition.shape[2:]
        noise = self._model.base_noise(self._seeds[group], self._temperature, (height, width))
        # These steps alone keep the noise, until the last tile.
        return decode_in_tiles(self._model, noise, self.condition, images, self.overshoot[group], self._at_a_time)

    def _finish(self, image: Tensor, draw: Tensor) -> None:
        """Write a draw: grey if the picture is, without padding, and with what the damaged picture determines."""
        if self._is_grey:  # by rows, because int32 takes four times the memory
            image = torch.cat([luma(rows).expand_as(rows) for rows in image.split(TILE, dim=2)], dim=2)
        height, width = draw.shape[1:]
        draw.copy_(self._task.reconcile(image[..., :height, :width], self._damaged[None])[0])


def require_task(model: ImageModel, factor: int | None = None) -> RestorationTask:
    """Return the task of a model; of a wavelet flow, enlarging by a factor, 4 if None.

    Raises:
        ValueError: If the model has no task, its flow is untrained, or there is a factor that it cannot enlarge by.
    """
    if isinstance(model.flow, WaveletFlow):
        return Enlarge(model.flow.num_details, factor)
    conditioning = picture_conditioning_of(model)
    if factor is not None:
        raise ValueError("this model cannot enlarge by a factor, as wavelet flows do; leave it out (--enlarge)")
    if not conditioning.encoder.trained:
        raise ValueError(
            "the flow of this model is untrained, because its run ended early; continue it with glow fit --resume"
        )
    return conditioning.task


def require_size(model: ImageModel, task: RestorationTask, count: int, height: int, width: int) -> None:
    """Raise ValueError if ``count`` draws of a damaged picture of this size would take too much memory."""
    factor, most_pixels = task.factor, _MOST_ENLARGED if isinstance(task, Enlarge) else _MOST_PIXELS
    pixels = factor**2 * height * width
    if pixels > most_pixels:
        raise ValueError(
            f"restored, it would have {factor * width:,}x{factor * height:,} pixels; expected at most "
            f"{most_pixels / 1e6:.0f} million: reduce it or cut it into parts"
        )
    most = _MOST_BYTES // (pixels * model.flow.image_shape[0])
    if count > most:
        raise ValueError(
            f"{count:,} draws of {factor * width:,}x{factor * height:,} pixels do not fit into "
            f"{_MOST_BYTES / 1e9:.1f} GB; expected at most {most:,}"
        )


def _padded(condition: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of a condition until its sides are multiples of ``multiple`` and large enough."""
    for dim in (2, 3):
        side = condition.shape[dim]
        if more := -(-max(side, _LEAST_SIDE) // multiple) * multiple - side:
            last = condition.narrow(dim, -1, 1)
            condition = torch.cat([condition, *[last] * more], dim=dim)
    return condition
