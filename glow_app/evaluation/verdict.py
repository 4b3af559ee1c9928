"""What the figures of an evaluation mean, in a line each; and faults that make them worthless."""

import math
from collections.abc import Mapping
from typing import Any

from glow_app.bijections import SolverError, record_solves
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import observed_batches
from glow_app.evaluation.bits import Exactness, exactness
from glow_app.models import ImageModel

LEARNT = 0.9  # bits/dim relative to PNG; below, the model has learnt something
ALIKE = 0.9  # precision and recall relative to those of real images; above, they are nearly as high
_ERRORS = 2.6  # standard errors of an interval, since the alarm is the larger of two figures: 1 in 100 by chance
COPIES = 0.6  # share of comparisons in which a sample is nearer to training images than a held-out image is
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


def verdict(record: Mapping[str, Any]) -> list[str]:
    """Return what bits/dim, precision, recall and distances to training images mean, and the model's faults.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate``.
    """
    bits, png = record["bits_per_dim"]["one_draw"]["mean"], record["bits_per_dim"]["png"]
    learnt = "learnt what the images have in common" if bits < LEARNT * png else "not learnt much yet"
    lines = faults_in(bits, Exactness(**record["reconstruction"]))
    lines = lines or [f"bits/dim: {learnt} ({bits / png:.0%} of a PNG)"]
    drawn, real = record["comparisons"]["drawn"], record["comparisons"].get("training_images", {})
    for name, good, bad in (
        ("precision", "samples resemble real images", "many samples resemble no real image"),
        ("recall", "samples vary as much as real images", "samples vary less than real images"),
    ):
        share = drawn[name] / max(real.get(name, 1.0), 1e-9)
        lines.append(f"{name}: {good if share >= ALIKE else bad} ({share:.0%} of theirs)")
    if (nearest := record["nearest"]) is not None:
        nearer, num_drawn = max(nearest["features"], nearest["pixels"]), nearest["drawn_images"]
        num_held_out = nearest["held_out_images"]
        # The standard error of chance: Mann and Whitney 1947.
        margin = _ERRORS * math.sqrt((num_drawn + num_held_out + 1) / (12 * num_drawn * num_held_out))
        is_suspect = nearer > COPIES and nearer - margin > 0.5
        copies = "suspected, see neighbours.png" if is_suspect else "none suspected"
        compared = f"in {nearer:.0%} ± {margin:.0%} of comparisons, a sample is nearer to one training image"
        lines.append(f"copies: {copies}; {compared} than a held-out image is (50% is ideal, 100% means copies)")
    return lines
