"""The words around a bits/dim figure, without which it compares with nothing."""

import math

from glow_app.data import Split
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.generation.baselines import histogram_bits_per_dim, png_bits_per_dim
from glow_app.messages import pluralise, size_text
from lightning_modules.data import ImageDataModule
from lightning_modules.density import DensityModule

__all__ = ["print_image_report"]

# The references take whole images into memory: of larger splits, only so many.
REFERENCE_IMAGES, COUNTED_IMAGES = 10_000, 60_000


def print_image_report(module: DensityModule, data: ImageDataModule, split: Split, value: float) -> None:
    """Print the bits/dim ``value`` of a split with everything that it depends on, beside two references."""
    num_images = data.num_images(split)
    images = data.images(split, REFERENCE_IMAGES)
    num_bits = module.model.num_bits
    channels, height, width = module.model.flow.image_shape
    draws = f"{pluralise(module.num_draws, 'draw')} of uniform dequantisation noise"
    estimated = estimated_trace_note(module.model, math.prod(module.model.flow.latent_shapes[-1]))
    classes = "" if module.knows_labels else f", class unknown: averaged over {module.model.flow.num_classes} classes"
    source = data.hparams["source"]
    print(
        f"{value:.4f} bits/dim  ({source}, {split} split, {pluralise(num_images, 'image')} of "
        f"{size_text(width, height)}, {pluralise(channels, 'channel')}, {num_bits}-bit, {draws}{estimated}{classes})"
    )
    if classes:
        print("labels             the images have none of the model's classes, so all classes are taken together")
    num = min(COUNTED_IMAGES, data.num_images("train"))
    histogram = histogram_bits_per_dim(data.images("train", num), images, num_bits)
    print(f"{histogram:.4f} bits/dim  reference: a histogram for each pixel, counted on {num} training images")
    same = "the same images" if len(images) == num_images else f"the first {len(images)} images"
    print(f"{png_bits_per_dim(images, num_bits):.4f} bits/dim  reference: one PNG of {same}")
