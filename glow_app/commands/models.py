"""List the bundled models, which --checkpoint accepts by name."""

import argparse
from pathlib import Path

from glow_app.messages import printable
from glow_app.storage.model_folders import DEFAULT_MODEL, WEIGHTS_NAME, bundled_models, read_config

_ROW = "{:<16} {:<9} {:<9} {:>4} {:>7} {:>12} {:>8}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(arguments: argparse.Namespace) -> None:
    """Print a table."""
    print(_ROW.format("model", "image", "task", "bits", "classes", "val bits/dim", "size"))
    for name, folder in bundled_models().items():
        print(printable(_ROW.format(name, *_row(folder)) + (" default" if name == DEFAULT_MODEL else "")))
    print("\nA run's folder, a .ckpt file, an exported folder or hf://USER/NAME works too. Details: glow info NAME.")


def _row(folder: Path) -> tuple[object, ...]:
    config = read_config(folder)
    model, training = config["model"], config["training"]
    channels, height, width = model["flow"]["image_shape"]
    task = model["task"]["class_path"].rpartition(".")[2].lower() if "task" in model else "none"
    bits = training.get("test/bpd", training.get("val/bpd"))
    return (
        f"{height}x{width}x{channels}",
        task,
        model["num_bits"],
        model["flow"]["num_classes"] or "none",
        f"{bits:.3f}" if bits else "",
        f"{(folder / WEIGHTS_NAME).stat().st_size / 1e6:.1f} MB",
    )
