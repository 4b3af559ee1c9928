"""Sampling in batches, and which of the images a grid shows."""

from collections.abc import Iterator, Sequence

import torch
from PIL import Image

from glow_app.conditioning import Given
from glow_app.models.drawing import draw, draw_settings
from glow_app.models.image_model import ImageModel
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import MOST_COLUMNS, Images
from glow_app.pictures.images import grid

Temperature = float | Sequence[float]


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

    Image i depends on ``seed + i`` alone, up to one grey level of the model: rounding in convolutions depends on the
    number of images in a batch.

    Args:
        temperature: A number for all levels, or one per level, finest first.
        turns: What the images are given in turn, by their seeds, such as names of classes; None for the default,
            such as all classes of a class-conditional model.
        guidance, size: As for :meth:`LoadedModel.sample <glow_app.models.loaded_model.LoadedModel.sample>`.
    Raises:
        ValueError: If ``num`` or ``batch_size`` is below 1, or the model does not take what is given, or
            takes no guidance.
    """
    require_at_least(1, num=num, batch_size=batch_size)
    parsed = None if turns is None else model.vocabulary.parse(turns, len(turns))
    settings = draw_settings(model, temperature, guidance, parsed)
    for start in range(seed, seed + num, batch_size):
        seeds = range(start, min(start + batch_size, seed + num))
        given = None if parsed is None else parsed[[each % len(parsed) for each in seeds]]
        yield from zip(seeds, draw(model, seeds, settings, given, size), strict=True)


def turn_length(model: ImageModel, turns: Sequence[Given] | None = None) -> int:
    """Return after how many images the given values repeat; 1 if that is too many for the columns of a grid."""
    length = len(model.vocabulary.values if turns is None else turns)
    return length if 1 < length <= MOST_COLUMNS else 1


def num_shown(count: int, turn: int, most: int) -> int:
    """Return the number of images in a grid of at most ``most``: complete turns if some are left out."""
    return count if count <= most else most - most % turn


def sweep(model: ImageModel, images: Images, temperatures: Temperature) -> Image.Image:
    """Return a grid with a row per temperature: of the noise, and with what was given, of sampled images."""
    rows = [temperatures] if isinstance(temperatures, (int, float)) else temperatures
    guidance = images.common_facts.get("guidance", 1.0)
    given = model.vocabulary.parse(images.given or None, len(images))
    settings = [draw_settings(model, row, guidance, given) for row in rows]
    drawn = torch.cat([draw(model, images.seeds, each, given) for each in settings])
    above = images.captions if len(set(images.captions)) > 1 else []
    return grid(drawn, len(images), above=above, left=[f"T = {row:g}" for row in rows])
