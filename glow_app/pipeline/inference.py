"""What is known about pictures: what is given, what they were drawn with, or what they most probably show."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.conditioning import AttributeConditioning, Given
from glow_app.messages import all_in_words
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.seeding import image_generators

AS_DRAWN, BY_FOLDER, INFERRED = "as drawn", "by the names of their folders", "inferred"
_AT_A_TIME = 16  # images of which the most likely values are found


def read(model: ImageModel, images: Pictures, given: Given = None) -> tuple[Tensor, Tensor | None]:
    """Return pictures and what is given about them as the tensors that an :class:`ImageModel` takes.

    Args:
        images: As for :func:`~glow_app.pictures.inputs.as_images`, such as file names.
        given: As for :meth:`Vocabulary.parse <glow_app.conditioning.Vocabulary.parse>`, such as names of classes.
    Raises:
        ValueError: If a picture cannot be read, or something is given that the model does not take.
    """
    images = as_images(images, model.flow.image_shape)
    return images, model.vocabulary.parse(given, len(images))


def drawn_with(model: ImageModel, images: Pictures) -> list[Given]:
    """Return what the model was given when it drew each image, by the image's facts or its PNG; None for others."""
    images, _ = read(model, images)
    facts = images.facts if isinstance(images, Images) and images.facts else [{}] * len(images)
    owner = model.hash if any("model" in fact for fact in facts) else None
    values: list[Given] = []
    for fact in facts:
        value = fact.get("given") if "seed" in fact and fact.get("model", owner) == owner else None
        try:
            model.vocabulary.parse(value if value is None else [value], 1)
        except ValueError:  # of another model
            value = None
        values.append(value)
    return values


def read_known(model: ImageModel, images: Pictures, given: Given) -> tuple[Tensor, Tensor | None]:
    """Return pictures and what is given about them, as :func:`read`; if nothing is given, as :func:`find_values`."""
    pixels, known = read(model, images, given)
    if known is None:
        places = images if isinstance(images, list | tuple) else [images] * len(pixels)
        folders = [Path(place).parent.name if isinstance(place, str | Path) else "" for place in places]
        known, _ = find_values(model, pixels, folders)
    return pixels, known


def given_facts(model: ImageModel, given: Tensor | None) -> dict[str, Any]:
    """Return the metadata of a picture made from pictures of which this is given; empty for nothing."""
    values = model.vocabulary.format(given)
    return {"given": all_in_words(values)} if values else {}


def infer(model: ImageModel, images: Pictures, given: Given = None) -> Tensor | None:
    """Return what each image was drawn with or else seems to show, such as its class or attributes, as a tensor.

    Attributes are read by the network that was trained beside the model; what is given is kept. Classes are those of
    :func:`~glow_app.pipeline.read_known`. None for an unconditional model.
    """
    (images, given), conditioning = read_known(model, images, given), model.conditioning
    if not isinstance(conditioning, AttributeConditioning) or (given is not None and not given.isnan().any()):
        return given
    drawn = model.vocabulary.parse([value or {} for value in drawn_with(model, images)], len(images))
    assert drawn is not None
    known = drawn if given is None else given.where(~given.isnan(), drawn)
    return known.where(~known.isnan(), conditioning.read(images).to(known))


def find_values(
    model: ImageModel, images: Tensor, folders: Sequence[str] | None = None
) -> tuple[Tensor | None, list[str]]:
    """Return the value of each image, such as its class, and where it is from.

    It is what the image was drawn with, or else what the name of its folder says, or else the most likely value, with
    the noise of seed 0 for all images, so that results do not depend on the other images. None if there are too many
    values to try, or none.

    Args:
        images: uint8, (B, C, H, W).
        folders: Name of the folder of each image.
    """
    values, vocabulary = drawn_with(model, images), model.vocabulary
    ways = [AS_DRAWN if value is not None else INFERRED for value in values]
    for row, folder in enumerate(folders or []):
        if values[row] is None and (value := vocabulary.from_folder(folder)) is not None:
            values[row], ways[row] = value, BY_FOLDER
    unknown = [row for row, value in enumerate(values) if value is None]
    if unknown and not vocabulary.values:
        return None, []
    if unknown:
        likely = vocabulary.format(_most_likely(model, images.as_subclass(Tensor)[unknown]))
        for row, value in zip(unknown, likely, strict=True):
            values[row] = value
    return vocabulary.parse(values, len(values)), ways


def _most_likely(model: ImageModel, images: Tensor) -> Tensor | None:
    numbers = []
    for part in images.split(_AT_A_TIME):
        seeds = [0] * len(part)
        with record_solves(image_generators(seeds)):
            numbers.append(model.bits_table(part, generator=image_generators(seeds)).likeliest)
    return chosen(model.conditioning.unknown(len(images)), torch.cat(numbers))


def chosen(choices: Sequence[Tensor | None], numbers: Tensor) -> Tensor | None:
    """Return, for each image, the choice of its number; each of ``choices`` has a row per image, or one for all."""
    if len(choices) == 1:
        return None if choices[0] is None else choices[0].expand(len(numbers), *choices[0].shape[1:])
    rows = torch.arange(len(numbers))
    return torch.stack([choice for choice in choices if choice is not None])[numbers.cpu(), rows]
