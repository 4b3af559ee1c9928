"""Restoration of damaged pictures of any size by a model with a task."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.flows.context import Context, rows_of
from glow_app.likelihood import to_uint8
from glow_app.models.class_labels import Labels, as_labels, labels_of_seeds
from glow_app.models.image_model import ImageModel
from glow_app.nn.condition_encoder import base_picture
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Picture, as_photo
from glow_app.progress import tracked
from glow_app.seeding import one_seed_each
from glow_app.tasks import RestorationTask
from glow_app.tasks.colourise import luma

# Side of a tile, overlap of two tiles, and width of the discarded margins within it, pixels. Margins are discarded
# because convolutions see zeros beyond a tile. With a margin of 48, draws of trained models of three levels still
# differed by a grey level from those of the whole picture; with 64, by a fifth of one.
TILE, OVERLAP, MARGIN = 640, 192, 64

# Overshoot beyond black or white, grey levels, above which a part of a draw is repeated with half the noise, and the
# maximum number of repetitions. Sound draws overshoot by tens.
_WILD, _MOST_TIMES = 64, 6

# Restored pixels per step: draws of small pictures are batched, those of larger ones run one by one. On a CPU larger
# steps are no faster, and a server can answer other requests between steps.
_PIXELS_AT_A_TIME, _PIXELS_ON_GPU = 1 << 16, 1 << 22

# Maximum number of values in a group of draws, which shares the feature maps; the noise takes 4 bytes per value.
_VALUES_TOGETHER = 1 << 25

# Limits of the pixels of a restored picture and of the bytes of its draws; working memory adds some 30 bytes per pixel.
_MOST_PIXELS, _MOST_BYTES = 1 << 26, 1 << 31


@dataclass(frozen=True)
class Restoration:
    """Draws of possible originals of a damaged picture.

    Args:
        draws: uint8 (N, C, H, W); they agree with all that the damaged picture determines.
        given: Picture in the condition of the flow, such as the bicubic enlargement, uint8 (C, H, W).
        overshoot: Largest overshoot of each draw beyond black and white before clipping, grey levels, (N,). Tens are
            usual next to black and white; parts above 64 were drawn again with less noise.
    """

    draws: Images
    given: Tensor
    overshoot: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of the draws per pixel, uint8 (C, H, W)."""
        return self._by_rows(lambda draws: draws.mean(0).round().to(torch.uint8))

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the draws per pixel, averaged over channels, float (1, H, W), grey levels.

        It shows the uncertainty of the model: 0 where all draws agree. Few draws underestimate it: 4 draws by 13 %.
        """
        return self._by_rows(lambda draws: draws.std(0, correction=0).mean(0, keepdim=True))

    @property
    def shown_spread(self) -> Tensor:
        """The spread as a picture, uint8 (1, H, W): black where all draws agree, white from 32 grey levels on."""
        return (8 * self.spread).clamp(max=255).round().to(torch.uint8)

    def _by_rows(self, reduce: Callable[[Tensor], Tensor]) -> Tensor:
        """Reduce the draws to one picture, a few rows at a time, because floats take four times the memory."""
        rows = max(1, 4 * _PIXELS_AT_A_TIME // self.draws[:, :, :1].numel())
        return torch.cat([reduce(part.float()) for part in self.draws.split(rows, dim=2)], dim=1)


@torch.no_grad()
def restore(
    model: ImageModel,
    picture: Picture,
    count: int = 4,
    temperature: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    labels: Labels | None = None,
    doing: str | None = None,
    *,
    mask: Picture | None = None,
    sigma: float | None = None,
) -> Restoration:
    """Draw possible originals of a damaged picture of any size.

    The picture is padded to sides that the flow can halve; a large one is decoded in overlapping tiles, which share the
    base noise of the whole picture and are blended where they overlap. Draws of a picture that is grey throughout are
    grey too, unless the task is to colour it.

    Args:
        model: A model with a task.
        picture: A file name, a Pillow image, a uint8 array (h, w, C) or (h, w), or a tensor (C, h, w); or a tensor
            (D, h, w), uint8, of the channels that :meth:`~glow_app.tasks.RestorationTask.damage` of the task returns.
        count: Number of draws.
        temperature: As for :meth:`ImageModel.sample <glow_app.models.image_model.ImageModel.sample>`.
        seeds: As for ``sample``.
        labels: As for ``sample``.
        doing: Description for a progress bar of draws and tiles; none if omitted.
        mask: For filling: a picture of the same size, white where pixels are missing.
        sigma: For denoising: standard deviation of the noise, grey levels; estimated if omitted.
    Raises:
        ValueError: If the model has no task, the task does not take an argument, or the picture cannot be read, is a
            tensor of another type or shape, or is too large.
    """
    task, num_channels = require_task(model), model.flow.image_shape[0]
    require_at_least(1, count=count)
    channels = task.picture_channels(num_channels)
    is_damaged = isinstance(picture, Tensor) and (not task.takes or picture.shape[:1] != (channels,))
    if isinstance(picture, Tensor) and is_damaged and mask is None and sigma is None:
        damaged = picture
    else:
        damaged = task.prepare(as_photo(picture, channels), None if mask is None else as_photo(mask, 1), sigma)
    if damaged.dtype != torch.uint8 or damaged.ndim != 3 or not damaged.numel():
        raise ValueError(f"damaged is {damaged.dtype} of shape {tuple(damaged.shape)}; expected torch.uint8, (D, h, w)")
    require_size(model, count, damaged.shape[1], damaged.shape[2])
    condition = task.condition(damaged[None])
    expected = model.flow.condition_channels
    if condition.shape[1] != expected:
        raise ValueError(f"the damaged picture has {condition.shape[1]} channels; expected {expected}")
    is_grey = len(damaged) >= channels == 3 and bool((damaged[1:3] == damaged[:1]).all())
    seeds = one_seed_each(count, seeds)
    settings = model.generation.override(temperature, 1.0)  # without guidance
    classes = labels_of_seeds(model, seeds, None) if labels is None else as_labels(model, labels, count)
    padded = _padded(condition, 2 ** len(model.flow.levels))
    height, width = condition.shape[2:]
    draws = torch.empty(count, num_channels, height, width, dtype=torch.uint8)
    overshoot = torch.zeros(count)
    size = padded.shape[2], padded.shape[3]
    num_pixels = math.prod(size)
    at_a_time = max(1, (_PIXELS_AT_A_TIME if model.device.type == "cpu" else _PIXELS_ON_GPU) // num_pixels)
    # With classes, every draw has its own feature maps; they would take too much memory in a larger group.
    group_size = at_a_time if classes is not None else max(at_a_time, _VALUES_TOGETHER // (num_channels * num_pixels))
    groups = _slices(count, group_size)

    def steps() -> Iterator[None]:
        for group in groups:
            images = torch.empty(len(seeds[group]), num_channels, *size, dtype=torch.uint8)
            noise = model.base_noise(seeds[group], settings.temperature, size)
            group_classes = None if classes is None else classes[group]
            tiles = _decode_in_tiles(model, noise, group_classes, padded, images, overshoot[group], at_a_time)
            del noise  # the generator keeps it only until its last tile
            yield from tiles
            for draw, image in zip(draws[group], images, strict=True):
                if is_grey:
                    for rows in image[None].split(TILE, dim=2):  # because int32 takes four times the memory
                        rows.copy_(luma(rows).expand(-1, num_channels, -1, -1))
                draw.copy_(task.known(image[None, :, :height, :width], damaged[None])[0])
                yield  # task.known can take seconds for an enlarged picture

    parts = sum(len(_slices(len(seeds[group]), at_a_time)) for group in groups)
    total = parts * len(_spans(size[0])) * len(_spans(size[1])) + count
    for _ in steps() if doing is None else tracked(steps(), total, doing):
        pass
    noise_level = {"sigma": int(damaged[-1, 0, 0])} if "sigma" in task.takes else {}
    facts = [draw_facts | noise_level for draw_facts in model.facts_of(seeds, settings, classes)]
    return Restoration(Images(draws, facts), base_picture(condition, num_channels)[0], overshoot)


def require_task(model: ImageModel) -> RestorationTask:
    """Return the task of a model; raise ValueError if it has none, or its flow is untrained."""
    if model.task is None:
        raise ValueError("this model restores nothing; expected one that was trained with a task")
    if not model.trains_flow:
        raise ValueError(
            "the flow of this model is not trained yet: its run ended before; go on with glow fit --resume"
        )
    return model.task


def require_size(model: ImageModel, count: int, height: int, width: int) -> None:
    """Raise ValueError if ``count`` draws of a damaged picture of this size would take too much memory."""
    factor = require_task(model).factor
    pixels = factor**2 * height * width
    if pixels > _MOST_PIXELS:
        raise ValueError(
            f"restored, it would have {factor * width:,}x{factor * height:,} pixels; expected at most "
            f"{_MOST_PIXELS / 1e6:.0f} million: reduce it or cut it into parts"
        )
    most = _MOST_BYTES // (pixels * model.flow.image_shape[0])
    if count > most:
        raise ValueError(
            f"{count:,} draws of {factor * width:,}x{factor * height:,} pixels do not fit into "
            f"{_MOST_BYTES / 1e9:.1f} GB; expected at most {most:,}"
        )


def _padded(condition: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of a condition until its sides are multiples of ``multiple``."""
    rows, columns = (torch.arange(side + -side % multiple).clamp(max=side - 1) for side in condition.shape[2:])
    return condition[:, :, rows][..., columns]


def _decode_in_tiles(
    model: ImageModel,
    noise: Sequence[Tensor],
    labels: Tensor | None,
    condition: Tensor,
    images: Tensor,
    overshoot: Tensor,
    at_a_time: int,
) -> Iterator[None]:
    """Decode noise given a condition, writing ``images``, uint8 (N, C, H, W), and their ``overshoot``, (N,).

    Each step decodes a tile of ``at_a_time`` images. All images share the tile's feature maps, which take longer than a
    draw.
    """
    height, width = images.shape[2:]
    for rows in _spans(height):
        strip = torch.empty_like(images[:, :, rows])
        for columns in _spans(width):
            levels = [
                level[:, :, _scaled(rows, 2 << number), _scaled(columns, 2 << number)]
                for number, level in enumerate(noise)
            ]
            context = model.context(len(images), labels, condition[:, :, rows, columns])
            kept = _kept(rows, height), _kept(columns, width)
            for part in _slices(len(images), at_a_time):
                values, most = _tame_values(model, [level[part] for level in levels], rows_of(context, part), kept)
                overshoot[part] = torch.maximum(overshoot[part], most)
                _write_blended(strip[part], to_uint8(values, model.num_bits), columns.start, dim=3)
                if columns.stop == width:
                    _write_blended(images[part], strip[part], rows.start, dim=2)
                yield


def _tame_values(
    model: ImageModel, levels: Sequence[Tensor], context: Context, kept: tuple[slice, slice]
) -> tuple[Tensor, Tensor]:
    """Return the values of a tile, and the overshoot, (N,), of its ``kept`` part before any repetition.

    Where values are wild, the noise is halved in place. As the inputs of conditioners are bounded, there are few such
    places, and none without noise.
    """
    values = model.decode_values(levels, context).float().cpu()
    overshoot = _overshoot(values, kept)
    most = overshoot.flatten(1).amax(1)
    for _ in range(_MOST_TIMES):
        draws = overshoot.flatten(1).amax(1).gt(_WILD).nonzero()[:, 0]
        if not len(draws):
            break
        wild = overshoot[draws].gt(_WILD).float()
        for number, level in enumerate(levels):
            cells = F.max_pool2d(F.max_pool2d(wild, 2 << number), 3, stride=1, padding=1)
            level[draws] *= 1 - cells.to(level) / 2
        halved = [level[draws] for level in levels]
        values[draws] = model.decode_values(halved, rows_of(context, draws)).float().cpu()
        overshoot = _overshoot(values, kept)
    return values, most


def _overshoot(values: Tensor, kept: tuple[slice, slice]) -> Tensor:
    """Return how far the values of each pixel reach beyond black and white, grey levels, (N, 1, H, W).

    Discarded margins count as -inf: at the edge of a tile, values may be wild where the picture is not.
    """
    overshoot = torch.full_like(values[:, :1], -math.inf)
    overshoot[..., *kept] = 256 * (values[..., *kept].abs().amax(1, keepdim=True) - 0.5)
    return overshoot


def _kept(part: slice, length: int) -> slice:
    """Return the part of a tile's side without discarded margins."""
    return slice(MARGIN if part.start else 0, part.stop - part.start - (MARGIN if part.stop < length else 0))


def _slices(count: int, size: int) -> list[slice]:
    return [slice(first, first + size) for first in range(0, count, size)]


def _spans(length: int) -> list[slice]:
    """Return the spans of the tiles along a side."""
    starts = range(0, max(1, length - OVERLAP), TILE - OVERLAP)
    return [slice(start, min(start + TILE, length)) for start in starts]


def _write_blended(canvas: Tensor, part: Tensor, start: int, dim: int) -> None:
    """Write a part into a canvas at ``start``, blended with the previous part in their overlap."""
    target, overlap = canvas.narrow(dim, start, part.shape[dim]), OVERLAP if start else 0
    if overlap:
        rise = ((torch.arange(overlap) - MARGIN + 0.5) / (overlap - 2 * MARGIN)).clamp(0, 1)
        before, after = target.narrow(dim, 0, overlap), part.narrow(dim, 0, overlap)
        before.copy_(before.float().lerp(after.float(), rise.unflatten(0, (-1, *[1] * (3 - dim)))).round())
    rest = part.shape[dim] - overlap
    target.narrow(dim, overlap, rest).copy_(part.narrow(dim, overlap, rest))


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start // factor, part.stop // factor)
