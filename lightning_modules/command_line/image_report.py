"""Report of a bits/dim figure, with everything that is needed to compare it."""

import math

from glow_app.data.splits import Split
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.generation.baselines import png_bits_per_dim
from glow_app.messages import pluralise, size_text
from lightning_modules.image_data import ImageDataModule
from lightning_modules.image_module import ImageModule

REFERENCE_IMAGES = 10_000  # maximum number of images in the PNG, all of which are in memory


def print_image_report(module: ImageModule, data: ImageDataModule, split: Split, figures: dict[str, float]) -> None:
    """Print the bits/dim of a split with everything on which it depends, and that of a PNG."""
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
    print(f"these images       {data.origin(split)}")
    if changes := data.changes:
        print(f"since training     {changes}")
    which = "the same images" if len(images) == num_images else f"the first {len(images)} images"
    print(f"{png_bits_per_dim(images, num_bits):.4f} bits/dim  reference: one PNG of {which}")
