"""Print what a model, checkpoint, run, sampled PNG, or file of latents, a direction or a program records."""

import argparse
import zipfile
from pathlib import Path

from glow_app.commands.facts import model_facts, part_of, picture_facts, program_facts, tensor_facts
from glow_app.messages import printable
from glow_app.storage.places import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow info``."""
    what = "a model, as for --checkpoint; a PNG of glow sample, latents, a direction, or an exported program"
    parser.add_argument("path", nargs="?", help=what, metavar="PATH")
    parser.add_argument("--checkpoint", help="same as PATH, as in other commands", metavar="PATH")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts, one per line."""
    given = [one for one in (arguments.path, arguments.checkpoint) if one is not None]
    if len(given) > 1:
        raise ValueError("glow info got a path and --checkpoint; give one of them")
    for name, value in _facts(given[0] if given else DEFAULT_MODEL).items():
        print(printable(f"{name:<20} {value}"))


def _facts(place: str) -> dict[str, object]:
    from glow_app.export import DESCRIPTION_NAME

    path = Path(place)
    suffix = path.suffix.lower()
    if suffix == ".png":
        return picture_facts(path)
    if suffix == ".safetensors" and path.is_file():
        return tensor_facts(path)
    if (path / DESCRIPTION_NAME).is_file():
        return program_facts(path)
    if path.is_file() and suffix != ".ckpt" and (suffix == ".pt2" or not zipfile.is_zipfile(path)):
        raise ValueError(
            f"{path} is not a file that glow info reads: models, latents, directions, PNGs of glow sample"
            f"{part_of(path)}"
        )
    try:
        return model_facts(place)
    except FileNotFoundError as error:
        picture = min(path.glob("*.png"), default=None)
        if picture is None:
            raise
        raise ValueError(f"{path} holds pictures and no model; name one of them: glow info {picture}") from error
