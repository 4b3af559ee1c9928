"""Interpolate between pictures, as a strip or an animation whose frames include the pictures themselves."""

import argparse
from pathlib import Path

from glow_app.commands.input_pictures import given_batches, picture_files
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import Parser, number_type
from glow_app.commands.results import free_paths
from glow_app.files import atomic_file
from glow_app.messages import UsageError, pluralise

USUAL_FRAMES = 9
USUAL_SECONDS = 3.0
ANIMATIONS = (".gif", ".webp")


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow interpolate``."""
    parser.add_argument("images", nargs="+", help="two or more picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    frames = f"frames from each picture to the next, both included (default: {USUAL_FRAMES})"
    parser.add_argument("--frames", type=number_type(int, 2), help=frames)
    spherical = "interpolate along arcs, which keep the norm of the latents, instead of lines"
    parser.add_argument("--spherical", action="store_true", help=spherical)
    parser.add_argument("--mix", action="store_true", help="exchange levels one by one: structure of A, texture of B")
    parser.add_given_argument()
    parser.add_output_arguments("NAME.png", "NAME.gif")
    seconds = (
        f"duration of an animation (.webp, or .gif with 256 colours), forwards and back (default: {USUAL_SECONDS:g})"
    )
    parser.add_argument("--seconds", type=number_type(float, above=0, most=3600), help=seconds)


def run(arguments: argparse.Namespace) -> None:
    """Write the strip or the animation."""
    from glow_app.pictures.animations import animation_bytes
    from glow_app.pictures.images import save_picture, strip
    from glow_app.pipeline import interpolate, mix_levels
    from glow_app.pipeline.inference import given_facts

    files = picture_files(arguments.images)
    (output,) = free_paths(arguments.output, ["strip.png"], arguments.overwrite)
    _check(arguments, output, len(files))
    num_frames, seconds = arguments.frames or USUAL_FRAMES, arguments.seconds or USUAL_SECONDS
    model, stored = load(arguments)
    ((_, images, parsed),) = given_batches(model, files, arguments.given, len(files), "reading", skips=False)
    if arguments.mix:
        frames, way = mix_levels(model, images, parsed), "levels mixed"
        num_frames = len(frames)
    else:
        frames = interpolate(model, images, num_frames, parsed, spherical=arguments.spherical)
        way = "arc" if arguments.spherical else "line"
    if output.suffix.lower() not in ANIMATIONS:
        facts = {"pictures": ", ".join(Path(file).name for file in files), **given_facts(model, parsed)}
        save_picture(strip(frames, num_frames), output, facts | {"way": way, **provenance(stored)})
    else:
        with atomic_file(output) as file:
            file.write(animation_bytes(frames, output.suffix.lower(), seconds))
    print(f"{pluralise(len(frames), 'frame')}: {output}")


def _check(arguments: argparse.Namespace, output: Path, count: int) -> None:
    if count < 2 or (arguments.mix and count > 2):
        option, expected = (" --mix", "two") if arguments.mix else ("", "two or more")
        raise UsageError(f"glow interpolate{option} got {pluralise(count, 'picture')}; expected {expected}")
    if arguments.mix and arguments.frames is not None:
        raise UsageError("--mix exchanges whole levels and does not interpolate; leave out --frames")
    if arguments.seconds is not None and output.suffix.lower() not in ANIMATIONS:
        raise UsageError("--seconds needs an animation; leave it out, or use an --output that ends in .gif or .webp")
