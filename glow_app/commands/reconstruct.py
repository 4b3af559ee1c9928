"""Encode and decode pictures, report the largest pixel error, and write both side by side."""

import argparse

from glow_app.commands.input_pictures import given_batches, picture_files
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import Parser
from glow_app.commands.results import free_paths, refuse_replacing
from glow_app.messages import pluralise

SHOWN = 64  # images in the comparison, originals and reconstructions


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow reconstruct``."""
    parser.add_argument("images", nargs="+", help="picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.add_output_arguments("NAME.png")
    parser.add_given_argument()
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the comparison and print the largest error."""
    import torch

    from glow_app.pictures.images import grid, save_picture
    from glow_app.pipeline import reconstruct

    (path,) = free_paths(arguments.output, ["comparison.png"], arguments.overwrite)
    refuse_replacing(picture_files(arguments.images), [path])
    model, stored = load(arguments)
    shown, count, error, change = [], 0, 0, 0
    batches = given_batches(model, arguments.images, arguments.given, arguments.batch_size, "reconstructing")
    for _, images, parsed in batches:
        result = reconstruct(model, images, parsed)
        if 2 * count < SHOWN:  # only the first, so that memory does not grow with the number of pictures
            shown.append(torch.stack([images, result.images], dim=1).flatten(0, 1))
        count += len(images)
        error = max(error, result.max_pixel_error)
        change = max(change, result.max_quantisation)
    picture = grid(torch.cat(shown)[:SHOWN], columns=8, above=["original", "decoded"] * 4)
    save_picture(picture, path, provenance(stored))
    print(f"{pluralise(count, 'image')}, largest pixel error {error} of 255")
    if change:
        print(f"quantised to {model.num_bits} bits first, which changed pixels by up to {change} of 255")
    print(f"originals and reconstructions side by side: {path}")
