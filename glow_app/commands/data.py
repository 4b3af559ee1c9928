"""Render faces as a folder of images."""

import argparse
import shlex
from pathlib import Path

from glow_app.commands.parser import number_type, positive_int, seed_number
from glow_app.files import require_folder
from glow_app.messages import pluralise

LARGEST_FACE = 2048


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``render`` with its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="render")
    render = actions.add_parser("render", help="write a folder of rendered faces", description=_render.__doc__)
    render.add_argument("what", choices=["faces"], help="cartoon faces with attributes")
    count = "number of faces; a larger number adds to them"
    render.add_argument("--count", type=positive_int, default=1000, help=count)
    size = number_type(int, 1, LARGEST_FACE)
    render.add_argument("--size", type=size, default=64, help="height and width in pixels", metavar="N")
    render.add_argument("--seed", type=seed_number, default=0, help="seed; a face depends only on it and on its index")
    render.add_argument("--output", required=True, help="output folder", metavar="FOLDER")
    render.set_defaults(act=_render)


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen action."""
    arguments.act(arguments)


def _render(arguments: argparse.Namespace) -> None:
    """Write rendered faces as PNGs, and their attributes as a CSV."""
    from glow_app.data.faces.rendered import TABLE_NAME, write_faces

    folder = Path(arguments.output)
    require_folder(folder)
    write_faces(folder, arguments.seed, arguments.count, arguments.size)
    print(f"{pluralise(arguments.count, 'face')} in {folder}, attributes in {folder / TABLE_NAME}")
    print(f"train on them: glow fit {shlex.quote(str(folder))}")
