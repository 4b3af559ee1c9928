"""Classification of images by the likelihoods of a class-conditional model."""

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.models.image_model import ImageModel
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.seeding import image_generators


def class_probabilities(model: ImageModel, images: Pictures, *, seed: int = 0, batch_size: int = 16) -> Tensor:
    r"""Return the probability of each class given the image under a uniform prior over classes, (B, M), float64.

    .. math:: p(c \mid y) = \frac{p(y \mid c)}{\sum_{c'} p(y \mid c')}

    for a single draw of dequantisation noise, shared by all classes and with the same seed for every image, so that
    results do not depend on the other images. Flows are overconfident: most probabilities are near 0 or 1, and do not
    reflect the accuracy.

    Args:
        model: A class-conditional model.
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        seed: Seed of the noise.
        batch_size: Images per batch; classes are evaluated one after another.
    Raises:
        ValueError: If the model has no classes, or the images do not fit.
    """
    if model.flow.num_classes is None:
        raise ValueError("this model is not class-conditional: there are no classes to infer")
    parts = []
    for part in as_images(images, model.flow.image_shape).to(model.device).split(batch_size):
        with record_solves(image_generators([seed] * len(part))):
            parts.append(model.bits_table(part, generator=image_generators([seed] * len(part))).probabilities.cpu())
    return torch.cat(parts)


def infer_labels(model: ImageModel, images: Pictures, *, seed: int = 0, batch_size: int = 16) -> Tensor:
    """Return the most likely class of each image, (B,), int64; arguments as for :func:`class_probabilities`."""
    return class_probabilities(model, images, seed=seed, batch_size=batch_size).argmax(1)
