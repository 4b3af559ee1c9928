"""Report of a bits/dim figure, with everything that is needed to compare it."""

import math

import numpy as np

from glow_app.data.splits import Split
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.generation.baselines import histogram_bits_per_dim, png_bits_per_dim
from glow_app.messages import pluralise, size_text
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule

# Maximum number of evaluated and of training images for the references, which hold all of them in memory.
REFERENCE_IMAGES, COUNTED_IMAGES = 10_000, 60_000


def print_image_report(module: ImageModule, data: ImageDataModule, split: Split, figures: dict[str, float]) -> None:
    """Print the bits/dim of a split with everything on which it depends, and two references."""
    num_images = len(data.examples(split))
    images = data.examples(split).head(REFERENCE_IMAGES)
    num_bits = module.model.num_bits
    channels, height, width = module.model.flow.image_shape
    draws = f"{pluralise(module.num_draws, 'draw')} of uniform dequantisation noise"
    trace = estimated_trace_note(module.model, math.prod(module.model.flow.latent_shapes[-1]))
    size = f"{pluralise(num_images, 'image')} of {size_text(width, height)}, {pluralise(channels, 'channel')}"
    details = f"{num_bits}-bit, {draws}{trace}{module.details}"
    print(f"{figures[module.metric]:.4f} bits/dim  ({data.part(split)}, {size}, {details})")
    for line in module.report_lines(figures):
        print(line)
    if data.other_root is not None or not data.is_as_in_training:
        print("held out           unknown: some of these images may have been used for training")
    _print_histogram(data, images, num_bits)
    which = "the same images" if len(images) == num_images else f"the first {len(images)} images"
    print(f"{png_bits_per_dim(images, num_bits):.4f} bits/dim  reference: one PNG of {which}")


def _print_histogram(data: ImageDataModule, images: np.ndarray, num_bits: int) -> None:
    """Print the bits/dim under histograms of the training images, or why these are unknown."""
    reference = "reference: a histogram for each pixel"
    reason = "the source or its split is not that of the training"
    try:
        train = data.examples("train").head(COUNTED_IMAGES) if data.is_as_in_training else None
    except (FileNotFoundError, ValueError) as error:
        if data.other_root is None:
            raise
        where = "their folder is not recorded" if data.hparams["root"] is None else str(error)
        reason = f"{where}; pass it with --training"
    else:
        if train is not None:
            histogram = histogram_bits_per_dim(train, images, num_bits)
            print(f"{histogram:.4f} bits/dim  {reference}, counted on {len(train)} training images")
            return
    print(f"no figure          {reference} needs the training images: {reason}")
