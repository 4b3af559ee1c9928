"""What images most probably show: their classes, or their attributes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.conditioning import AttributeConditioning, Given
from glow_app.models.bits_table import BitsTable
from glow_app.models.image_model import ImageModel
from glow_app.models.loaded_model import read
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.seeding import image_generators
from glow_app.storage.stored_model import model_hash

# Of attributes that are not yes or no, each pass tries levels of quantiles at these distances from the last ones.
_PASSES = (torch.linspace(0, 1, 9), torch.linspace(-1, 1, 5) / 8, torch.linspace(-1, 1, 5) / 32)
_LEAST_SIDE = 32  # of the means by which a wavelet flow infers: they show what images show, in a fraction of the time
_AT_A_TIME = 4  # images whose attributes are inferred together, each with up to nine values


def drawn_with(model: ImageModel, images: Pictures) -> list[Given]:
    """Return what the model was given when it drew each image, by the image's facts or its PNG; None for others."""
    images, _ = read(model, images)
    facts = images.facts if isinstance(images, Images) and images.facts else [{}] * len(images)
    owner = model_hash(model) if any("model" in fact for fact in facts) else None
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
    """Return the tensors of pictures and of what is given or, if nothing is, what all of them were drawn with."""
    images, given = read(model, images, given)
    if given is None and None not in (values := drawn_with(model, images)):
        given = model.vocabulary.parse(values, len(images))
    return images, given


def infer(model: ImageModel, images: Pictures, given: Given = None) -> Tensor | None:
    r"""Return what each image was drawn with, or else its most likely value, such as class or attributes, as a tensor.

    Most likely attributes maximise :math:`p(y \mid a)`, chosen one after another, in three passes over all, starting
    from none: from both answers, or from quantiles of the training data. What is given is kept. None for an
    unconditional model. All images get the noise of seed 0, so that results do not depend on the other images.

    Args:
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        given: What is known about them.
    Raises:
        ValueError: If a value must be given, because there are too many to try.
    """
    (images, given), conditioning = read(model, images, given), model.conditioning
    if given is None or given.isnan().any():
        values = drawn_with(model, images)
        unknown = [row for row, value in enumerate(values) if value is None]
        if isinstance(conditioning, AttributeConditioning) and len(unknown) < len(images):
            drawn = model.vocabulary.parse([value or {} for value in values], len(images))
            given = drawn if given is None else given.where(~given.isnan(), drawn)
        elif given is None and len(unknown) < len(images):
            rest = infer(model, images.as_subclass(Tensor)[unknown]) if unknown else None
            for row, value in zip(unknown, model.vocabulary.format(rest), strict=True):
                values[row] = value
            return model.vocabulary.parse(values, len(images))
    first, *others = choices = conditioning.unknown(len(images)) if given is None else [given]
    if isinstance(conditioning, AttributeConditioning) and first is not None:
        parts = zip(images.split(_AT_A_TIME), first.cpu().split(_AT_A_TIME), strict=True)
        return torch.cat([_most_likely(model, conditioning, *part) for part in parts])
    if not others:
        return first
    return chosen(choices, torch.cat([_bits(model, part, None).likeliest for part in images.split(16)]))


def _most_likely(model: ImageModel, conditioning: AttributeConditioning, images: Tensor, given: Tensor) -> Tensor:
    """Return the attributes, (B, A), that are given, and the most likely values of the others."""
    is_given, filled, levels, rows = ~given.isnan(), given.clone(), torch.zeros_like(given), torch.arange(len(images))
    for distances in _PASSES:
        for place, kind in enumerate(conditioning.attributes.values()):
            if is_given[:, place].all():
                continue
            if kind == "yes_no":
                tried = torch.tensor([0.0, 1.0])[:, None].expand(2, len(images))
            else:
                tried = levels[:, place] + distances[:, None]
                tried = tried % 1 if kind == "circular" else tried.clamp(0, 1)
            values = conditioning.at_quantiles(tried.flatten())[:, place].view(tried.shape)
            rivals = filled.repeat(len(tried), 1, 1)
            rivals[:, :, place] = values.where(~is_given[:, place], given[:, place])
            bits = _bits(model, images.repeat(len(tried), 1, 1, 1), rivals.flatten(0, 1)).bits_per_dim
            best = bits.cpu().view(tried.shape).argmin(0)
            filled, levels[:, place] = rivals[best, rows], tried[best, rows]
    return filled


def _bits(model: ImageModel, images: Tensor, given: Tensor | None) -> BitsTable:
    seeds = [0] * len(images)
    size = next((size for size in reversed(model.flow.sizes) if min(size) >= _LEAST_SIDE), None)
    with record_solves(image_generators(seeds)):
        return model.bits_table(images, given, generator=image_generators(seeds), size=size)


def chosen(choices: Sequence[Tensor | None], numbers: Tensor) -> Tensor | None:
    """Return, for each image, the choice of its number; each of ``choices`` has a row per image, or one for all."""
    if len(choices) == 1:
        return None if choices[0] is None else choices[0].expand(len(numbers), *choices[0].shape[1:])
    rows = torch.arange(len(numbers))
    return torch.stack([choice for choice in choices if choice is not None])[numbers.cpu(), rows]
