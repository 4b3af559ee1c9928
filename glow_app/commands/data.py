"""Render faces as a folder of images."""

import argparse
import shlex
from pathlib import Path

from glow_app.commands.parser import positive_int, seed_number
from glow_app.files import require_folder
from glow_app.messages import pluralise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow data render faces``."""
    parser.usage = "glow data render faces [OPTIONS]"
    parser.add_argument("action", choices=["render"], help="write a folder of PNGs, and their attributes as a CSV")
    parser.add_argument("what", choices=["faces"], help="cartoon faces with attributes")
    count = "number of faces; a larger number adds to them"
    parser.add_argument("--count", type=positive_int, default=1000, help=count)
    parser.add_argument("--size", type=positive_int, default=64, help="height and width in pixels", metavar="N")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed; a face depends only on it and on its index")
    parser.add_argument("--output", default="outputs/data", help="output folder", metavar="FOLDER")


def run(arguments: argparse.Namespace) -> None:
    """Write the faces."""
    from glow_app.data.faces.rendered import TABLE_NAME, write_faces

    folder = Path(arguments.output)
    require_folder(folder)
    write_faces(folder, arguments.seed, arguments.count, arguments.size)
    print(f"{pluralise(arguments.count, 'face')} in {folder}, attributes in {folder / TABLE_NAME}")
    print(f"train on them: glow fit {shlex.quote(str(folder))}")
