"""Write the images between pictures, as a strip or an animation; the pictures themselves are frames of it."""

import argparse
from pathlib import Path

from glow_app.commands.classes import labels_of
from glow_app.commands.common import (
    add_label_argument,
    add_model_arguments,
    load,
    read_images,
    refuse_existing,
)
from glow_app.usage import UsageError, counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow interpolate``."""
    parser.add_argument("images", nargs="+", help="two pictures or more", metavar="PICTURE")
    add_model_arguments(parser)
    parser.add_argument("--frames", type=int, default=9, help="images from each picture to the next, both included")
    parser.add_argument("--spherical", action="store_true", help="along arcs that keep the latents' norm, not lines")
    parser.add_argument(
        "--mix", action="store_true", help="exchange the levels one by one: structure of A, texture of B"
    )
    add_label_argument(parser, "class of each; inferred if left out", several=True)
    parser.add_argument(
        "--output",
        default="interpolation.png",
        help="a strip (.png) or an animation (.gif, .webp, .mp4)",
        metavar="FILE",
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="an animation takes")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(arguments: argparse.Namespace) -> None:
    """Write the strip or the animation."""
    from glow_app.animations import ANIMATIONS, save_animation
    from glow_app.generation import interpolate, mix_levels
    from glow_app.images import grid, save_png

    output = Path(arguments.output)
    _check(arguments, output.suffix.lower() in (".png", *ANIMATIONS))
    refuse_existing([output], arguments.overwrite)
    model = load(arguments)
    images = read_images(model, arguments.images)
    labels = labels_of(model, images, arguments.images, arguments.label)
    if arguments.mix:
        frames = mix_levels(model, images, labels)
    else:
        frames = interpolate(model, images, arguments.frames, labels, spherical=arguments.spherical)
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".png":
        save_png(grid(frames, columns=len(frames) if len(images) == 2 else arguments.frames - 1), output)
    else:
        save_animation(frames, output, arguments.seconds, there_and_back=True)
    print(f"{counted(len(frames), 'frame')}: {output}")


def _check(arguments: argparse.Namespace, is_known: bool) -> None:
    for image in arguments.images:
        if Path(image).is_dir():
            raise UsageError(f"{image} is a folder; glow interpolate expects picture files")
    count = len(arguments.images)
    if count < 2 or (arguments.mix and count > 2):
        expected = "two" if arguments.mix else "two or more"
        raise UsageError(f"glow interpolate got {counted(count, 'picture')}; expected {expected}")
    if arguments.label is not None and len(arguments.label) != count:
        classes = f"{len(arguments.label)} class{'es' * (len(arguments.label) != 1)}"
        raise UsageError(f"glow interpolate got {classes} for {counted(count, 'picture')}; give --label one for each")
    if not is_known:
        raise UsageError(f"--output {arguments.output} is of no known kind; expected .png, .gif, .webp or .mp4")
    if not 0 < arguments.seconds < 3600:
        raise UsageError(f"--seconds is {arguments.seconds:g}; expected a number above 0")
