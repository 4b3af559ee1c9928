"""The most likely of the values, such as classes, that a model can be given."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generators

_AT_A_TIME = 16  # images


def most_likely(model: ImageModel, images: Tensor) -> Tensor | None:
    """Return what makes each image, uint8 (B, C, H, W), most likely; None for an unconditional model.

    All images get the noise of seed 0, so that results do not depend on the other images.

    Raises:
        ValueError: If a value must be given, because there are too many to try.
    """
    first, *others = choices = model.conditioning.unknown(len(images))
    if not others:
        return first
    numbers = []
    for part in images.split(_AT_A_TIME):
        seeds = [0] * len(part)
        with record_solves(image_generators(seeds)):
            numbers.append(model.bits_table(part, generator=image_generators(seeds)).likeliest)
    return chosen(choices, torch.cat(numbers))


def chosen(choices: Sequence[Tensor | None], numbers: Tensor) -> Tensor | None:
    """Return, for each image, the choice of its number; each of ``choices`` has a row per image, or one for all."""
    if len(choices) == 1:
        return None if choices[0] is None else choices[0].expand(len(numbers), *choices[0].shape[1:])
    rows = torch.arange(len(numbers))
    return torch.stack([choice for choice in choices if choice is not None])[numbers.cpu(), rows]
