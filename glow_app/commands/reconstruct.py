"""Encode and decode pictures, report the largest pixel error, and write both side by side."""

import argparse

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
from glow_app.commands.parser import Parser
from glow_app.messages import pluralise

SHOWN = 64  # images in the comparison, originals and reconstructions


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow reconstruct``."""
    parser.add_argument("images", nargs="+", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_output_arguments("reconstructions")
    parser.add_label_argument("class of all pictures (default: from their folders' names, or inferred)")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the comparison and print the largest error."""
    import torch

    from glow_app.generation import reconstruct
    from glow_app.pictures.images import grid, save_png

    path = arguments.output / "comparison.png"
    refuse_replacing(picture_files(arguments.images), [path])
    refuse_existing([path], arguments.overwrite)
    model = load(arguments)
    shown, classes = [], PictureClasses(model, arguments.label)
    count = error = lost = 0
    for names, images in picture_batches(model, arguments.images, arguments.batch_size, "reconstructing"):
        result = reconstruct(model, images, classes.of(images, names))
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
