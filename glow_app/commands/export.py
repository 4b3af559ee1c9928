"""Write a model as model.safetensors and config.json, which hold no code and need no training framework."""

import argparse

from glow_app.commands.common import add_model_arguments, device_of, tell_origin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow export``."""
    add_model_arguments(parser)
    parser.add_argument("--output", required=True, help="folder to make", metavar="FOLDER")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")


def run(arguments: argparse.Namespace) -> None:
    """Write the export."""
    from glow_app.checkpoint import load_density, training_facts
    from glow_app.pretrained import model_hash, save_pretrained

    model = load_density(arguments.checkpoint, device_of(arguments))
    tell_origin(arguments.checkpoint, model)
    folder = save_pretrained(
        model, arguments.output, training_facts(arguments.checkpoint), overwrite=arguments.overwrite
    )
    print(f"{folder} (sha256 {model_hash(model)[:12]})")
