"""Export a model's weights, or its sampler as a program that runs without this package."""

import argparse

from glow_app.commands.loading import load, print_origin
from glow_app.commands.parser import Parser


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow export``."""
    parser.add_model_arguments()
    parser.add_output_arguments()
    form = "the model, or a program that draws samples and is checked against it"
    parser.add_argument("--format", choices=("safetensors", "torch-export"), default="safetensors", help=form)
    half = "round the weights to float16, which halves the file; models compute in float32 all the same"
    parser.add_argument("--half", action="store_true", help=half)


def run(arguments: argparse.Namespace) -> None:
    """Write the export."""
    (_write_weights if arguments.format == "safetensors" else _write_sampler)(arguments)


def _write_weights(arguments: argparse.Namespace) -> None:
    from glow_app.pipeline import load_directions
    from glow_app.storage.pretrained import save_pretrained
    from glow_app.storage.stored_model import StoredModel

    stored = StoredModel(arguments.checkpoint)
    model = stored.load(arguments.device)
    print_origin(stored)
    directions = load_directions(model, *stored.directions)
    files = [direction.path for direction in directions.values() if direction.path is not None]
    options = {"overwrite": arguments.overwrite, "directions": files, "half": arguments.half}
    folder = save_pretrained(model, arguments.output, stored.facts, **options)
    print(f"{folder} (sha256 {model.hash[:12]})")
    if directions:
        print(f"with the directions for glow edit: {', '.join(directions)}")


def _write_sampler(arguments: argparse.Namespace) -> None:
    from glow_app.export import PROGRAM_NAME, save_sampler

    arguments.device = "cpu"
    model, stored = load(arguments)
    share = save_sampler(model, arguments.output, stored.facts, overwrite=arguments.overwrite)
    print(f"{arguments.output / PROGRAM_NAME} (model {stored.hash[:12]})")
    print(f"checked against the model: {1 - share:.4%} of the pixels are equal")
