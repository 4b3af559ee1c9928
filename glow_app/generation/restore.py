"""Restoring damaged pictures of any size by a model with a task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.likelihood import to_uint8
from glow_app.models.class_labels import Labels, as_labels, labels_of_seeds
from glow_app.models.image_model import ImageModel
from glow_app.nn.condition_encoder import base_picture
from glow_app.pictures.image_batch import Images
from glow_app.seeding import one_seed_each

__all__ = ["Restoration", "restore"]

# Side of a tile, width of the overlap of two, and of the margins in it that are not used, pixels. The convolutions see
# zeros beyond a tile, of which less than a grey level is left behind the margin.
TILE, OVERLAP, MARGIN = 512, 64, 16


@dataclass(frozen=True)
class Restoration:
    """Draws of what a damaged picture could have been.

    Args:
        draws: uint8 (N, C, H, W); known values are those of the damaged picture.
        given: What the flow saw, such as the bicubic enlargement, uint8 (C, H, W).
        overshoot: How far the values of each draw reached beyond black and white before they were clipped, grey levels,
            (N,). Tens are usual next to black and white; more than the whole range means that the draw has exploded.
    """

    draws: Images
    given: Tensor
    overshoot: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean of the draws per pixel, uint8 (C, H, W)."""
        return self.draws.float().mean(0).round().to(torch.uint8)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the draws per pixel, averaged over channels, float (1, H, W), grey levels.

        What the model does not know: 0 where all draws agree.
        """
        return self.draws.float().std(0, correction=0).mean(0, keepdim=True)

    @property
    def shown_spread(self) -> Tensor:
        """The spread as a picture, uint8 (1, H, W): black where all draws agree, white from 32 grey levels on."""
        return (8 * self.spread).clamp(max=255).round().to(torch.uint8)


@torch.no_grad()
def restore(
    model: ImageModel,
    damaged: Tensor,
    count: int = 4,
    temperature: float | Sequence[float] | None = None,
    seeds: int | Sequence[int] | None = None,
    labels: Labels | None = None,
) -> Restoration:
    """Return draws of the original of a damaged picture of any size.

    A picture is padded to sides that the flow can halve, and a large one is decoded in overlapping tiles. The base
    noise is that of the whole picture, so tiles agree where they overlap, and they are blended there.

    Args:
        model: A model with a task.
        damaged: As the task's :meth:`~glow_app.tasks.RestorationTask.damage` returns it, uint8 (D, h, w).
        count: Number of draws.
        temperature: As for :meth:`ImageModel.sample <glow_app.models.image_model.ImageModel.sample>`.
        seeds: As for ``sample``.
        labels: As for ``sample``.
    Raises:
        ValueError: If the model has no task, or the picture has other channels than the task's.
    """
    if model.task is None:
        raise ValueError("this model restores nothing; expected one that was trained with a task")
    condition = model.task.condition(damaged[None])
    expected = model.flow.condition_channels
    if condition.shape[1] != expected:
        raise ValueError(f"the damaged picture has {condition.shape[1]} channels; expected {expected}")
    seeds = one_seed_each(count, seeds)
    settings = model.generation.override(temperature, None)
    classes = labels_of_seeds(model, seeds, None) if labels is None else as_labels(model, labels, count)
    padded = _padded(condition, 2 ** len(model.flow.levels))
    noise = model.base_noise(seeds, settings.temperature, (padded.shape[2], padded.shape[3]))
    draws, overshoot = _decode_in_tiles(model, noise, classes, padded)
    draws = draws[..., : condition.shape[2], : condition.shape[3]]
    known = model.task.known(draws, damaged.expand(count, -1, -1, -1))
    facts = [{"seed": seed, **settings.facts} for seed in seeds]
    return Restoration(Images(known, facts), base_picture(condition, known.shape[1])[0], overshoot)


def _padded(condition: Tensor, multiple: int) -> Tensor:
    """Return a condition with its last rows and columns repeated until its sides are multiples."""
    height, width = condition.shape[2:]
    return F.pad(condition.float(), (0, -width % multiple, 0, -height % multiple), "replicate").to(torch.uint8)


def _decode_in_tiles(
    model: ImageModel, noise: Sequence[Tensor], labels: Tensor | None, condition: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the images of noise given a condition, uint8 (N, C, H, W) on the CPU, in tiles, and their overshoot."""
    num, height, width = len(noise[0]), *condition.shape[2:]
    total = torch.zeros(num, model.flow.image_shape[0], height, width)
    weights, overshoot = torch.zeros(1, 1, height, width), torch.zeros(num)
    for top, bottom in _spans(height):
        for left, right in _spans(width):
            rows, columns = slice(top, bottom), slice(left, right)
            levels = [
                level[:, :, _scaled(rows, 2 << number), _scaled(columns, 2 << number)]
                for number, level in enumerate(noise)
            ]
            weight = torch.outer(_ramp(top, bottom, height), _ramp(left, right, width))
            values = model.decode_values(levels, labels, None, condition[:, :, rows, columns]).float().cpu()
            total[:, :, rows, columns] += weight * to_uint8(values, model.num_bits)
            overshoot = torch.maximum(overshoot, 256 * (values.abs().flatten(1).amax(1) - 0.5))
            weights[:, :, rows, columns] += weight
    return (total / weights).round().to(torch.uint8), overshoot


def _spans(length: int) -> list[tuple[int, int]]:
    """Return the beginnings and ends of the tiles along a side."""
    starts = range(0, max(1, length - OVERLAP), TILE - OVERLAP)
    return [(start, min(start + TILE, length)) for start in starts]


def _ramp(start: int, end: int, length: int) -> Tensor:
    """Return the weights of a tile along a side, which rise and fall in its overlaps, (end - start,)."""
    rise = ((torch.arange(end - start) - MARGIN + 0.5) / (OVERLAP - 2 * MARGIN)).clamp(0, 1)
    ones = torch.ones(end - start)
    return (ones if start == 0 else rise) * (ones if end == length else rise.flip(0))


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start // factor, part.stop // factor)
