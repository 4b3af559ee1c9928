"""Sampling in batches."""

import math
from collections.abc import Iterator, Sequence

from glow_app.models.class_labels import ClassTurns, labels_of_seeds
from glow_app.models.image_model import ImageModel
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import Images
from glow_app.running import images_at_a_time

Temperature = float | Sequence[float]

ALWAYS_FULL = 16  # batches up to this size are filled up, whatever the count


def sample_batches(
    model: ImageModel,
    num: int,
    temperature: Temperature,
    seed: int,
    label: ClassTurns = None,
    batch_size: int = 16,
    guidance: float = 1.0,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Images]]:
    """Yield ``(seed, image)`` for each of ``num`` images, the image uint8 (C, H, W).

    Image i depends on ``seed + i`` alone. As the order of summation in a convolution, and so the last bit, may depend
    on the batch size, batches of up to 16 are always full. The last of larger batches has only the images needed. For
    images larger than the model's own, which are slow, it is filled up only to the number that a CPU decodes at a time.

    Args:
        model: The model.
        num: Number of images.
        temperature: A number for all levels, or one per level, finest first.
        seed: Seed of the first image.
        label: Number or name of the class of all images, or several classes in turn, chosen by the image's seed; None
            stands for all classes of a class-conditional model.
        batch_size: Maximum number of images per batch.
        guidance: As for :meth:`ImageModel.sample <glow_app.models.image_model.ImageModel.sample>`.
        size: Height and width of the images, as for ``sample``.
    Raises:
        ValueError: If ``num`` or ``batch_size`` is below 1, or the model lacks the class, or has no classes for
            ``label`` or ``guidance``.
    """
    require_at_least(1, num=num, batch_size=batch_size)
    for start in range(seed, seed + num, batch_size):
        count = min(batch_size, seed + num - start)
        seeds = list(range(start, start + _num_drawn(model, count, batch_size, size)))
        images = model.sample(len(seeds), temperature, seeds, labels_of_seeds(model, seeds, label), guidance, size)
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
