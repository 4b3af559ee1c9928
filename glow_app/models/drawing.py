"""Draws from an image model: the noise of their seeds, what they are given, and guidance."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images


def draw_settings(
    model: ImageModel,
    temperature: float | Sequence[float] | None = None,
    guidance: float | None = None,
    given: Any = None,
) -> GenerationSettings:
    """Return the settings of draws: :attr:`ImageModel.generation`, except for what is not None.

    If nothing is given and there are no values that take turns, the guidance is 1: it would exaggerate nothing.

    Raises:
        ValueError: If a setting is out of range, or does not fit the model.
    """
    settings = model.generation.override(temperature, guidance)
    settings.check(len(model.flow.latent_shapes), model.conditioning.guided)
    return settings if given is not None or model.vocabulary.values else settings.override(None, 1.0)


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
