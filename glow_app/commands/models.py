"""List the bundled models, which --checkpoint accepts by name."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glow_app.messages import printable
from glow_app.storage.model_folders import DEFAULT_MODEL, WEIGHTS_NAME, bundled_models, read_config

_ROW = "{:<16} {:<9} {:>4}  {:<19} {:>12} {:>8}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(arguments: argparse.Namespace) -> None:
    """Print a table."""
    print(_ROW.format("model", "image", "bits", "given", "val bits/dim", "size"))
    for name, folder in bundled_models().items():
        print(printable(_ROW.format(name, *_row(folder)) + (" default" if name == DEFAULT_MODEL else "")))
    print("\nA run's folder, a .ckpt file, an exported folder or hf://USER/NAME works too. Details: glow info NAME.")


def _row(folder: Path) -> tuple[object, ...]:
    config = read_config(folder)
    model, training = config["model"], config["training"]
    channels, height, width = model["flow"]["image_shape"]
    bits = training.get("test/bpd", training.get("val/bpd"))
    return (
        f"{height}x{width}x{channels}",
        model["num_bits"],
        " ".join(_kinds(model["flow"].get("conditioning"))) or "nothing",
        f"{bits:.3f}" if bits else "",
        f"{(folder / WEIGHTS_NAME).stat().st_size / 1e6:.1f} MB",
    )


def _kinds(part: Any) -> list[str]:
    """Return what a stored conditioning takes, and the kinds of its parts: such as picture upscale."""
    if not isinstance(part, Mapping) or "class_path" not in part:
        return []
    name = part["class_path"].rpartition(".")[2].removesuffix("Conditioning").lower()
    return [name, *(kind for value in part["init_args"].values() for kind in _kinds(value))]
