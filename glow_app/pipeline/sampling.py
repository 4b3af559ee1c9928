"""Draws from an image model: the noise of their seeds, what they are given, guidance; and batches."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.conditioning import Given
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.nn.shape_checks import require_at_least
from glow_app.pictures.image_batch import MOST_COLUMNS, Images

Temperature = float | Sequence[float]


def draw_settings(
    model: ImageModel, temperature: float | Sequence[float] | None = None, guidance: float | None = None
) -> GenerationSettings:
    """Return the settings of draws: :attr:`ImageModel.generation`, except for what is not None.

    Raises:
        ValueError: If a setting is out of range, or does not fit the model.
    """
    settings = model.generation.override(temperature, guidance)
    settings.check(len(model.flow.latent_shapes), model.conditioning.guided)
    return settings


def draw(
    model: ImageModel,
    seeds: Sequence[int],
    settings: GenerationSettings,
    given: Tensor | None = None,
    size: tuple[int, int] | None = None,
) -> Images:
    """Return an image for each seed, with its facts.

    Args:
        settings: From :func:`draw_settings`.
        given: What is given about each image; the rest is the vocabulary's default for the seed.
        size: Height and width, if the prior allows other sizes; those of the model, or of what is given, if None.
    """
    filled = model.vocabulary.default(seeds, given)
    noise = model.base_noise(seeds, settings.temperature, model.size_of(filled) or size)
    images = decode_guided(model, noise, filled, settings, given)
    return Images(images, settings.facts_of_draws(seeds, model.vocabulary.format(filled)))


def decode_guided(
    model: ImageModel,
    noise: Sequence[Tensor],
    filled: Tensor | None,
    settings: GenerationSettings,
    given: Tensor | None = None,
) -> Images:
    """Return the images of base noise, with less noise and guidance for those that explode.

    At temperature 1 and without guidance, images are samples of the model's distribution, and stay as they are.
    """
    change = None if filled is None else guidance_change(model, filled, settings.guidance, given)
    exact = settings.guidance == 1 and {*settings.temperatures(len(model.flow.latent_shapes))} == {1}
    return model.decode_with(noise, model.context(filled, len(noise[0])), change, shrink=not exact)


@torch.no_grad()
def guidance_change(
    model: ImageModel, filled: Tensor, guidance: float | Sequence[float], given: Tensor | None = None
) -> Tensor | None:
    """Return what guidance adds to the context, (B, E); None if it is 1 for all images, the model itself.

    Args:
        filled, given: As for :meth:`Conditioning.guidance <glow_app.conditioning.Conditioning.guidance>`; what is given
            is all of it if None.
        guidance: The factor of what is given, one for all images or one per image.
    """
    factors = torch.tensor([guidance] if isinstance(guidance, (int, float)) else guidance)
    if factors.eq(1).all():
        return None
    with full_precision(model.device):
        direction = model.conditioning.guidance(model.placed(filled), model.placed(filled if given is None else given))
    return (factors.to(direction)[:, None] - 1) * direction


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
        guidance, size: As for :meth:`LoadedModel.sample <glow_app.pipeline.loaded_model.LoadedModel.sample>`.
    Raises:
        ValueError: If ``num`` or ``batch_size`` is below 1, or the model does not take what is given, or
            takes no guidance.
    """
    require_at_least(1, num=num, batch_size=batch_size)
    parsed = None if turns is None else model.vocabulary.parse(turns, len(turns))
    settings = draw_settings(model, temperature, guidance)
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
