"""Write the images between two images as one strip; the ends are the two images themselves."""

import argparse
from pathlib import Path

from glow_app.commands.common import add_model_arguments, check_labels, load, read_images, refuse_existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow interpolate``."""
    parser.add_argument("first", help="a picture")
    parser.add_argument("second", help="another picture")
    add_model_arguments(parser)
    parser.add_argument("--frames", type=int, default=9, help="images of the strip, the ends included")
    parser.add_argument("--label", type=int, nargs=2, default=None, help="classes of the two, if class-conditional")
    parser.add_argument("--output", default="interpolation.png", help="the strip", metavar="FILE")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(arguments: argparse.Namespace) -> None:
    """Write the strip."""
    import torch

    from glow_app.generation import interpolate
    from glow_app.images import grid, save_png

    model = load(arguments)
    output = Path(arguments.output)
    refuse_existing([output], arguments.overwrite)
    check_labels(model, arguments.label)
    images = read_images(model, [arguments.first, arguments.second])
    labels = None if arguments.label is None else torch.tensor(arguments.label)
    frames = interpolate(model, images[0], images[1], arguments.frames, labels)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_png(grid(frames, columns=len(frames)), output)
    print(f"{len(frames)} frames: {output}")
