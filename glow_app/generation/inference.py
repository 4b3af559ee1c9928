"""What images were drawn with, or most probably show: their classes, or their attributes."""

from torch import Tensor

from glow_app.conditioning import AttributeConditioning, Given
from glow_app.models.image_model import ImageModel
from glow_app.models.loaded_model import read
from glow_app.models.most_likely import most_likely
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.storage.stored_model import model_hash


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
    """Return what each image was drawn with or else seems to show, such as its class or attributes, as a tensor.

    Attributes are read by the network that was trained beside the model; what is given is kept. Of several values, such
    as classes, it is the most likely one, with the noise of seed 0 for all images, so that results do not depend on the
    other images. None for an unconditional model.

    Args:
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        given: What is known about them.
    Raises:
        ValueError: If a value must be given, because there are too many to try.
    """
    (images, given), conditioning = read(model, images, given), model.conditioning
    if given is not None and not given.isnan().any():
        return given
    values = drawn_with(model, images)
    if isinstance(conditioning, AttributeConditioning):
        drawn = model.vocabulary.parse([value or {} for value in values], len(images))
        assert drawn is not None
        known = drawn if given is None else given.where(~given.isnan(), drawn)
        return known.where(~known.isnan(), conditioning.read(images).to(known))
    unknown = [row for row, value in enumerate(values) if value is None]
    if len(unknown) < len(images):
        rest = infer(model, images.as_subclass(Tensor)[unknown]) if unknown else None
        for row, value in zip(unknown, model.vocabulary.format(rest), strict=True):
            values[row] = value
        return model.vocabulary.parse(values, len(images))
    return most_likely(model, images)
