"""Print the facts recorded in a model, checkpoint, run, sampled PNG, latents, direction or exported program."""

import argparse

from glow_app.messages import printable
from glow_app.storage.places import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow info``."""
    what = "a model, as for --checkpoint; a PNG of glow sample, latents, a direction, or an exported program"
    parser.add_argument("path", nargs="?", help=what, metavar="PATH")
    parser.add_argument("--checkpoint", help="same as PATH, as in other commands", metavar="PATH")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts, one per line."""
    from glow_app.commands.facts import facts_of

    places = [place for place in (arguments.path, arguments.checkpoint) if place is not None]
    if len(places) > 1:
        raise ValueError("glow info got a path and --checkpoint; give one of them")
    for name, value in facts_of(places[0] if places else DEFAULT_MODEL).items():
        print(printable(f"{name:<20} {value}"))
