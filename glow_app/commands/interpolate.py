"""Interpolate between pictures, as a strip or an animation whose frames include the pictures themselves."""

import argparse
from pathlib import Path
from typing import Any

from glow_app.commands.classes import PictureClasses
from glow_app.commands.common import load, made_by, picture_batches, picture_files, refuse_existing
from glow_app.commands.parser import Parser, number, whole_number
from glow_app.files import atomic_file
from glow_app.messages import UsageError, pluralise

USUAL_FRAMES = 9
USUAL_SECONDS = 3.0


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow interpolate``."""
    parser.add_argument("images", nargs="+", help="two or more picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    frames = f"frames from each picture to the next, both included (default: {USUAL_FRAMES})"
    parser.add_argument("--frames", type=whole_number, help=frames)
    spherical = "interpolate along arcs, which keep the norm of the latents, or along lines"
    parser.add_argument("--spherical", action=argparse.BooleanOptionalAction, help=f"{spherical} (default: arcs)")
    parser.add_argument(
        "--mix", action="store_true", help="exchange the levels one by one: structure of A, texture of B"
    )
    parser.add_label_argument("class of each picture (default: from its folder's name, or inferred)", several=True)
    parser.add_argument(
        "--output",
        default="interpolation.png",
        help="a strip (.png) or an animation there and back (.gif, .webp); .png and .webp are lossless, "
        ".gif of grey pictures too",
        metavar="FILE",
    )
    seconds = f"duration of an animation, there and back (default: {USUAL_SECONDS:g})"
    parser.add_argument("--seconds", type=number, help=seconds)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def run(arguments: argparse.Namespace) -> None:
    """Write the strip or the animation."""
    from glow_app.generation import interpolate, mix_levels
    from glow_app.models.class_labels import class_facts
    from glow_app.pictures.animations import ANIMATIONS, SHORTEST, animation_bytes, shortest_loop
    from glow_app.pictures.images import save_png, strip

    output = Path(arguments.output)
    arguments.images = picture_files(arguments.images)
    _check(arguments, output.suffix.lower() in (".png", *ANIMATIONS))
    refuse_existing([output], arguments.overwrite)
    num_frames, seconds = arguments.frames or USUAL_FRAMES, arguments.seconds or USUAL_SECONDS
    model = load(arguments)
    ((names, images),) = picture_batches(model, arguments.images, len(arguments.images))
    classes = PictureClasses(model, arguments.label)
    labels = classes.of(images, names)
    classes.report()
    if arguments.mix:
        frames, way = mix_levels(model, images, labels), "levels mixed"
        num_frames = len(frames)
    else:
        is_arc = arguments.spherical is not False
        frames = interpolate(model, images, num_frames, labels, spherical=is_arc)
        way = "arc" if is_arc else "line"
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix.lower() == ".png":
        facts: dict[str, Any] = {"pictures": ", ".join(Path(image).name for image in arguments.images)}
        facts |= {} if labels is None else class_facts(model, *labels.tolist())
        save_png(strip(frames, num_frames), output, facts | {"way": way, **made_by(arguments)})
    else:
        with atomic_file(output) as file:
            file.write(animation_bytes(frames, output.suffix.lower(), seconds))
    print(f"{pluralise(len(frames), 'frame')}: {output}")
    if output.suffix.lower() != ".png" and (played := shortest_loop(len(frames))) > seconds:
        print(f"it plays {played:.2f} s, not {seconds:g} s: no frame is shown for less than {SHORTEST} s")


def _check(arguments: argparse.Namespace, is_known: bool) -> None:
    count = len(arguments.images)
    if count < 2 or (arguments.mix and count > 2):
        option, expected = (" --mix", "two") if arguments.mix else ("", "two or more")
        raise UsageError(f"glow interpolate{option} got {pluralise(count, 'picture')}; expected {expected}")
    if arguments.frames is not None and arguments.frames < 2:
        raise UsageError(f"--frames is {arguments.frames}; expected at least 2, the two pictures themselves")
    if arguments.mix and (arguments.spherical is not None or arguments.frames is not None):
        option = "--frames" if arguments.spherical is None else "--spherical"
        raise UsageError(f"--mix exchanges whole levels, with nothing between; leave {option} out")
    if arguments.label is not None and len(arguments.label) != count:
        classes = f"{len(arguments.label)} class{'es' * (len(arguments.label) != 1)}"
        raise UsageError(f"glow interpolate got {classes} for {pluralise(count, 'picture')}; give --label one for each")
    if not is_known:
        raise UsageError(f"--output {arguments.output} is of no known kind; expected .png, .gif or .webp")
    if arguments.seconds is not None and Path(arguments.output).suffix.lower() == ".png":
        raise UsageError("--seconds is of an animation, and a .png is a strip; leave it out or give another --output")
    if arguments.seconds is not None and not 0 < arguments.seconds < 3600:
        raise UsageError(f"--seconds is {arguments.seconds:g}; expected a number above 0 and below 3600")
