"""Encode and decode images, report the largest pixel error, and write both side by side."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.commands.classes import PictureClasses
from glow_app.commands.common import (
    load,
    made_by,
    output_folder,
    picture_batches,
    picture_files,
    print_lost_bits,
    refuse_existing,
    refuse_replacing,
)
from glow_app.commands.parser import Parser, positive_int
from glow_app.messages import UsageError, pluralise
from glow_app.progress import tracked

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel

SHOWN = 64  # images in the comparison, originals and reconstructions
USUAL_COUNT = 64  # default number of images of a source


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow reconstruct``."""
    parser.add_argument("images", nargs="*", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_argument("--source", help="test images of a source, such as digits, instead of files")
    parser.add_argument("--root", help="folder of the source's files", metavar="FOLDER")
    count = f"number of images of the source (default: {USUAL_COUNT})"
    parser.add_argument("--count", type=positive_int, help=count)
    parser.add_model_arguments()
    parser.add_output_arguments("reconstructions")
    parser.add_label_argument("class of all files (default: from their folders' names, or inferred)")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the comparison and print the largest error."""
    import torch

    from glow_app.generation import reconstruct
    from glow_app.pictures.images import grid, save_png

    if arguments.images and arguments.source:
        raise UsageError("glow reconstruct got picture files and --source; give one of them, not both")
    if arguments.source and arguments.label is not None:
        raise UsageError("--label is the class of picture files; of a --source, the classes are known")
    if not (arguments.images or arguments.source):
        raise UsageError("glow reconstruct needs picture files or folders, or else --source")
    for option in ("root", "count"):
        if arguments.images and getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is of a --source, and picture files are given; leave it out")
    path = Path(arguments.output) / "comparison.png"
    refuse_replacing(picture_files(arguments.images), [path])
    model = load(arguments)
    refuse_existing([path], arguments.overwrite)
    shown, classes = [], PictureClasses(model, arguments.label)
    count = error = lost = 0
    for images, labels in _batches(model, arguments, classes):
        result = reconstruct(model, images, labels)
        if 2 * count < SHOWN:  # only the first, so that memory does not grow with the number of pictures
            shown.append(torch.stack([images, result.images], dim=1).flatten(0, 1))
        count += len(images)
        error = max(error, result.max_pixel_error)
        lost = max(lost, result.max_quantisation)
    picture = grid(torch.cat(shown)[:SHOWN], columns=8, above=["original", "decoded"] * 4)
    save_png(picture, output_folder(arguments) / path.name, made_by(arguments))
    classes.report()
    print(f"{pluralise(count, 'image')}, largest pixel error {error} of 255")
    print_lost_bits(model, lost)
    print(f"originals and reconstructions side by side: {path}")


def _batches(
    model: "ImageModel", arguments: argparse.Namespace, classes: PictureClasses
) -> "Iterator[tuple[Tensor, Tensor | None]]":
    import torch

    from glow_app.data import load_split

    if not arguments.source:
        for names, images in picture_batches(model, arguments.images, arguments.batch_size, "reconstructing"):
            yield images, classes.of(images, names)
        return
    count = arguments.count or USUAL_COUNT
    chosen = load_split(arguments.source, "test", model.flow.image_shape, root=arguments.root, limit=count)
    images = torch.from_numpy(chosen.images)
    batches = torch.arange(len(images)).split(arguments.batch_size)
    for numbers in tracked(batches, len(batches), "reconstructing"):
        # A source without classes has labels, too: zeros, which do not mean class 0.
        labels = chosen.labels[numbers] if chosen.class_names else None
        if labels is None:
            names = [f"image {number}" for number in numbers.tolist()]
            labels = classes.of(images[numbers], names)
        yield images[numbers], labels
