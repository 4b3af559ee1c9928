"""Encode and decode images, report the largest pixel error, and write both side by side."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.commands.common import (
    add_model_arguments,
    add_output_arguments,
    check_labels,
    load,
    output_folder,
    positive_int,
    read_images,
    refuse_existing,
)

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.model import ImageModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow reconstruct``."""
    parser.add_argument("images", nargs="*", help="picture files, or folders of them")
    parser.add_argument("--source", default=None, help="instead of files: test images of digits, fashion_mnist, ...")
    parser.add_argument("--root", default=None, help="where the source's files lie", metavar="FOLDER")
    parser.add_argument("--count", type=positive_int, default=64, help="how many images of a source")
    add_model_arguments(parser)
    add_output_arguments(parser, "reconstructions")
    parser.add_argument("--label", type=int, default=None, help="class of all files, for a class-conditional model")
    parser.add_argument("--batch-size", type=positive_int, default=16, help="images at a time")


def run(arguments: argparse.Namespace) -> None:
    """Write the comparison and print the largest error."""
    import torch

    from glow_app.generation import reconstruct
    from glow_app.images import grid, save_png

    model = load(arguments)
    path = Path(arguments.output) / "comparison.png"
    refuse_existing([path], arguments.overwrite)
    images, labels = _images_and_labels(model, arguments)
    batches = zip(images.split(arguments.batch_size), labels.split(arguments.batch_size), strict=True)
    results = [reconstruct(model, *batch) for batch in batches]
    pairs = torch.stack([images, torch.cat([result.images for result in results])], dim=1).flatten(0, 1)
    save_png(grid(pairs[:64], columns=8), output_folder(arguments) / path.name)
    print(f"{len(images)} images, largest pixel error {max(result.max_pixel_error for result in results)} of 255")
    if lost := max(result.max_quantisation for result in results):
        print(f"the model keeps {model.num_bits} of 8 bits, which changed a pixel by up to {lost} beforehand")
    print(f"originals and reconstructions side by side: {path}")


def _images_and_labels(model: "ImageModel", arguments: argparse.Namespace) -> "tuple[Tensor, Tensor]":
    import torch

    from glow_app.data import load_split
    from glow_app.data.listing import list_images

    if bool(arguments.images) == bool(arguments.source):
        raise ValueError("glow reconstruct needs picture files or folders, or else --source")
    if arguments.source:
        chosen = load_split(
            arguments.source, "test", model.flow.image_shape, root=arguments.root, limit=arguments.count
        )
        return torch.from_numpy(chosen.images[:]), chosen.labels
    check_labels(model, arguments.label)
    parts = []
    for name in map(Path, arguments.images):
        files = [str(name / file.name) for file in list_images(name).files] if name.is_dir() else [str(name)]
        parts.append(read_images(model, files, skip_broken=name.is_dir()))
    images = torch.cat(parts)
    return images, torch.full((len(images),), arguments.label or 0)
