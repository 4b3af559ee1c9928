"""Faults of a model that make its figures worthless: an impossible likelihood, and a wrong inverse."""

from glow_app.bijections import SolverError, record_solves
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import observed_batches
from glow_app.evaluation.bits import Exactness, exactness
from glow_app.models import ImageModel

_IMAGES = 8  # that show whether a model is invertible
_LEAST_BITS = -0.01  # below zero, because one draw of the dequantisation noise may be lucky


def faults_in(bits: float, exact: Exactness | None = None) -> list[str]:
    """Return the faults that mean bits/dim of images and the exactness of their reconstructions reveal."""
    faults = []
    if bits < _LEAST_BITS:
        faults.append(
            f"{bits:.3f} bits/dim are impossible, since no probability of an image exceeds 1: "
            "check the log-determinants of the model's bijections"
        )
    if exact is not None and exact.exact_images < 0.5:
        faults.append(
            f"the model is not invertible: of the images that it encodes and decodes, {exact.exact_images:.0%} are "
            f"exact, with errors up to {exact.max_pixel_error} of 255; check the inverses of its bijections"
        )
    return faults


def faults_of(model: ImageModel, images: ImageSet, bits: float | None = None) -> list[str]:
    """Return the faults of a model on the first few images; ``bits`` are mean bits/dim if they are known already."""
    few = images.subset(range(min(len(images), _IMAGES)))
    try:
        if bits is None:
            ((part, given, generator),) = observed_batches(model, few, _IMAGES, "checking")
            with record_solves(generator):
                bits = float(model.bits_per_dim(part, given, 1, generator).mean())
        return faults_in(bits, exactness(model, few, _IMAGES))
    except (FloatingPointError, SolverError) as error:
        return [f"the model cannot be inverted: {error}"]
