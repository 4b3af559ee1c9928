"""Print what a checkpoint, an exported model, a run's folder, or a sampled PNG says about itself."""

import argparse
from pathlib import Path
from typing import Any

from glow_app.places import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow info``."""
    parser.add_argument("path", nargs="?", help="a checkpoint, a model as --checkpoint takes it, or a PNG")
    parser.add_argument("--checkpoint", default=None, help="the same, as the other commands name it", metavar="PATH")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts, one a line."""
    if arguments.path is not None and arguments.checkpoint is not None:
        raise ValueError("glow info got a path and --checkpoint; give one of them")
    place = arguments.path or arguments.checkpoint or DEFAULT_MODEL
    facts = _picture_facts(Path(place)) if place.lower().endswith(".png") else _model_facts(place)
    for name, value in facts.items():
        print(f"{name:<20} {value}")


def _picture_facts(path: Path) -> dict[str, object]:
    from glow_app.images import read_png_text

    text = read_png_text(path)
    if not text:
        raise ValueError(f"{path} carries no text: not written by `glow sample`, or stripped since")
    return dict(text)


def _model_facts(path: str) -> dict[str, object]:
    from glow_app.checkpoint import find_checkpoint, load_density, training_facts
    from glow_app.model import ImageModel
    from glow_app.pretrained import model_hash

    model = load_density(path)
    config = dict(model.config)
    if isinstance(model, ImageModel):
        config |= {**model.flow.config, "latent shapes": model.flow.latent_shapes}
        del config["flow"]
    return {
        "file": find_checkpoint(path),
        "sha256": model_hash(model),
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        **{name: _part(value) if isinstance(value, dict) else value for name, value in config.items()},
        **{name: ", ".join(value) if name == "classes" else value for name, value in training_facts(path).items()},
    }


def _part(spec: dict[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in spec["init_args"].items())
    return f"{spec['class_path']}({arguments})" if arguments else spec["class_path"]
