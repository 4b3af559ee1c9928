"""How exactly a model reconstructs images."""

from dataclasses import dataclass

from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import observed_batches
from glow_app.generation import reconstruct
from glow_app.models.image_model import ImageModel


@dataclass(frozen=True)
class Exactness:
    """Share of images of which every pixel is reconstructed, and the largest error of a pixel, of 255."""

    exact_images: float
    max_pixel_error: int


def exactness(model: ImageModel, images: ImageSet, batch_size: int = 64) -> Exactness:
    """Encode and decode images, and compare the result with the quantised images."""
    exact = error = 0
    for part, given, _ in observed_batches(model, images, batch_size, "reconstructing"):
        result = reconstruct(model, part, given)
        exact += int((result.images == model.quantised(part).cpu()).flatten(1).all(1).sum())
        error = max(error, result.max_pixel_error)
    return Exactness(exact / len(images), error)
