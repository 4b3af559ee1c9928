"""List the bundled models, which --checkpoint accepts by name."""

import argparse

from glow_app.messages import image_text, printable
from glow_app.storage.model_folders import DEFAULT_MODEL, SUMMARY_KEY, WEIGHTS_NAME, bundled_models, read_config

_ROW = "{:<15} {:<12} {:>7}  {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(arguments: argparse.Namespace) -> None:
    """Print a table."""
    print(_ROW.format("model", "image", "size", "what it does"))
    for name, folder in bundled_models().items():
        config, size = read_config(folder), (folder / WEIGHTS_NAME).stat().st_size
        summary, default = config["training"][SUMMARY_KEY].partition(".")[0], " (the default)" * (name == DEFAULT_MODEL)
        row = name, image_text(*config["model"]["flow"]["image_shape"]), f"{size / 1e6:.1f} MB", summary + default
        print(printable(_ROW.format(*row)))
    print("\nOr a run's folder, a .ckpt file, an exported folder or hf://USER/NAME.")
    print("Details: glow info NAME")
