"""Restoration of damaged pictures of any size by a model with a task."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.models.class_labels import Labels, as_labels, labels_of_seeds
from glow_app.models.image_model import ImageModel
from glow_app.nn.condition_encoder import base_picture
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Picture, as_photo
from glow_app.progress import tracked
from glow_app.restoration.tiles import TILE, decode_in_tiles, num_tiles, slices
from glow_app.seeding import one_seed_each
from glow_app.tasks import RestorationTask
from glow_app.tasks.colourise import luma

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
    damaged = _damaged(task, picture, task.picture_channels(num_channels), mask, sigma)
    require_size(model, count, damaged.shape[1], damaged.shape[2])
    condition = task.condition(damaged[None])
    if condition.shape[1] != model.flow.condition_channels:
        raise ValueError(
            f"the damaged picture has {condition.shape[1]} channels; expected {model.flow.condition_channels}"
        )
    is_grey = len(damaged) >= task.picture_channels(num_channels) == 3 and bool((damaged[1:3] == damaged[:1]).all())
    seeds = one_seed_each(count, seeds)
    settings = model.generation.override(temperature, 1.0)  # without guidance
    classes = labels_of_seeds(model, seeds, None) if labels is None else as_labels(model, labels, count)
    padded = _padded(condition, 2 ** len(model.flow.levels))
    height, width = condition.shape[2:]
    draws = torch.empty(count, num_channels, height, width, dtype=torch.uint8)
    overshoot, size = torch.zeros(count), (padded.shape[2], padded.shape[3])
    num_pixels = math.prod(size)
    at_a_time = max(1, (_PIXELS_AT_A_TIME if model.device.type == "cpu" else _PIXELS_ON_GPU) // num_pixels)
    # With classes, every draw has its own feature maps; they would take too much memory in a larger group.
    group_size = at_a_time if classes is not None else max(at_a_time, _VALUES_TOGETHER // (num_channels * num_pixels))
    groups = slices(count, group_size)

    def steps() -> Iterator[None]:
        for group in groups:
            images = torch.empty(len(seeds[group]), num_channels, *size, dtype=torch.uint8)
            noise = model.base_noise(seeds[group], settings.temperature, size)
            group_classes = None if classes is None else classes[group]
            tiles = decode_in_tiles(model, noise, group_classes, padded, images, overshoot[group], at_a_time)
            del noise  # the generator keeps it only until its last tile
            yield from tiles
            for draw, image in zip(draws[group], images, strict=True):
                if is_grey:
                    for rows in image[None].split(TILE, dim=2):  # because int32 takes four times the memory
                        rows.copy_(luma(rows).expand(-1, num_channels, -1, -1))
                draw.copy_(task.known(image[None, :, :height, :width], damaged[None])[0])
                yield  # task.known can take seconds for an enlarged picture

    parts = sum(len(slices(len(seeds[group]), at_a_time)) for group in groups)
    total = parts * num_tiles(*size) + count
    for _ in steps() if doing is None else tracked(steps(), total, doing):
        pass
    noise_level = {"sigma": int(damaged[-1, 0, 0])} if "sigma" in task.takes else {}
    facts = [draw_facts | noise_level for draw_facts in model.facts_of(seeds, settings, classes)]
    return Restoration(Images(draws, facts), base_picture(condition, num_channels)[0], overshoot)


def _damaged(
    task: RestorationTask, picture: Picture, num_channels: int, mask: Picture | None, sigma: float | None
) -> Tensor:
    """Return a picture as :meth:`RestorationTask.damage` does; a tensor of other channels is taken for such a one."""
    is_damaged = isinstance(picture, Tensor) and (not task.takes or picture.shape[:1] != (num_channels,))
    if isinstance(picture, Tensor) and is_damaged and mask is None and sigma is None:
        damaged = picture
    else:
        damaged = task.prepare(as_photo(picture, num_channels), None if mask is None else as_photo(mask, 1), sigma)
    if damaged.dtype != torch.uint8 or damaged.ndim != 3 or not damaged.numel():
        raise ValueError(f"damaged is {damaged.dtype} of shape {tuple(damaged.shape)}; expected torch.uint8, (D, h, w)")
    return damaged


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
