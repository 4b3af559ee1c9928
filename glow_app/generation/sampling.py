"""Sampling in batches, and which of the images a grid shows."""

import math
from collections.abc import Iterator, Sequence

import torch
from PIL import Image

from glow_app.conditioning import Given
from glow_app.models.image_model import ImageModel
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import MOST_COLUMNS, Images
from glow_app.pictures.images import grid
from glow_app.running import images_at_a_time

Temperature = float | Sequence[float]

ALWAYS_FULL = 16  # batches up to this size are filled up, whatever the count


def sample_batches(
    model: ImageModel,
    num: int,
    temperature: Temperature,
    seed: int,
    turns: Sequence[Given] | None = None,
    batch_size: int = 16,
    guidance: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Images]]:
    """Yield ``(seed, image)`` for each of ``num`` images, the image uint8 (C, H, W).

    Image i depends on ``seed + i`` alone. As the order of summation in a convolution, and so the last bit, may depend
    on the batch size, batches of up to 16 are always full. The last of larger batches has only the images needed. For
    images larger than the model's own, which are slow, it is filled up only to the number that a CPU decodes at a time.

    Args:
        temperature: A number for all levels, or one per level, finest first.
        turns: What the images are given in turn, by their seeds, such as names of classes; None for the default,
            such as all classes of a class-conditional model.
        batch_size: Maximum number of images per batch.
        guidance, size: As for :meth:`ImageModel.sample <glow_app.models.image_model.ImageModel.sample>`.
    Raises:
        ValueError: If ``num`` or ``batch_size`` is below 1, or the model does not take what is given, or
            takes no guidance.
    """
    require_at_least(1, num=num, batch_size=batch_size)
    for start in range(seed, seed + num, batch_size):
        count = min(batch_size, seed + num - start)
        seeds = list(range(start, start + _num_drawn(model, count, batch_size, size)))
        given = None if turns is None else [turns[each % len(turns)] for each in seeds]
        images = model.sample(len(seeds), temperature, seeds, given, guidance, size)
        yield from zip(seeds[:count], images, strict=False)


def _num_drawn(model: ImageModel, count: int, batch_size: int, size: tuple[int, int] | None) -> int:
    if batch_size > ALWAYS_FULL:
        return count
    channels, *own_size = model.flow.image_shape
    if size is None or math.prod(size) <= math.prod(own_size):
        return batch_size
    # Full parts, so that on a CPU each image goes through convolutions of the same shape as in a full batch.
    part = images_at_a_time(model.flow.hidden_channels, (channels, *size))
    return min(batch_size, math.ceil(count / part) * part)


def turn_length(model: ImageModel, turns: Sequence[Given] | None = None) -> int:
    """Return after how many images the given values repeat; 1 if that is too many for the columns of a grid."""
    length = len(model.conditioning.values if turns is None else turns)
    return length if 1 < length <= MOST_COLUMNS else 1


def num_shown(count: int, turn: int, most: int) -> int:
    """Return the number of images in a grid of at most ``most``: complete turns if some are left out."""
    return count if count <= most else most - most % turn


def sweep(model: ImageModel, images: Images, temperatures: Temperature) -> Image.Image:
    """Return a grid with a row per temperature: of the noise, and with what was given, of sampled images."""
    rows = [temperatures] if isinstance(temperatures, (int, float)) else temperatures
    guidance = images.common_facts.get("guidance", 1.0)
    given = images.given or None
    drawn = torch.cat([*(model.sample(len(images), row, images.seeds, given, guidance) for row in rows)])
    above = images.captions if len(set(images.captions)) > 1 else []
    return grid(drawn, len(images), above=above, left=[f"T = {row:g}" for row in rows])
