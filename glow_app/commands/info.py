"""Print the facts recorded in a model, a run or a PNG that glow wrote."""

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from glow_app.messages import image_text, pluralise, printable
from glow_app.storage.model_folders import DEFAULT_MODEL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow info``."""
    what = f"a model, as for --checkpoint, or a PNG that glow wrote (default: {DEFAULT_MODEL})"
    parser.add_argument("paths", nargs="*", help=what, metavar="PATH")
    parser.add_argument("--checkpoint", help="a model, as in other commands", metavar="PATH")


def run(arguments: argparse.Namespace) -> None:
    """Print the facts of each, one per line; at the end raise ValueError if some have none."""
    errors, gap = [], ""
    places = [*arguments.paths, *filter(None, [arguments.checkpoint])] or [DEFAULT_MODEL]
    for place in places:
        try:
            facts = _facts(place)
        except (OSError, ValueError) as error:
            if len(places) == 1:
                raise
            errors.append(str(error))
            continue
        if len(places) > 1:
            print(gap + printable(place))
        gap = "\n"
        for name, value in facts.items():
            print(printable(f"{name:<25} {value}"))
    if errors:
        raise ValueError("; ".join(errors))


def _facts(place: str) -> dict[str, Any]:
    from glow_app.pictures.images import read_png_text

    path = Path(place)
    if path.suffix.lower() == ".png" and path.is_file():
        if facts := read_png_text(path):
            return dict(facts)
        raise ValueError(f"{path} has no metadata: it was not written by glow, or the metadata was removed")
    if path.is_file() and path.suffix.lower() != ".ckpt" and not zipfile.is_zipfile(path):
        kind = f"a {path.suffix}" if path.suffix else "another"
        raise ValueError(f"{path} is {kind} file; expected a model (.ckpt file or folder) or a PNG that glow wrote")
    return _model_facts(place)


def _model_facts(place: str) -> dict[str, object]:
    """Return file and hash, the configuration, the shapes of images and latents, and the facts of the training."""
    from glow_app.pipeline.reference import REFERENCE_KEY
    from glow_app.storage.stored_model import StoredModel

    stored = StoredModel(place)
    model, training = stored.load(), dict(stored.facts)
    reference, config = training.pop(REFERENCE_KEY, None), dict[str, Any](model.config)
    parameters = f"{sum(p.numel() for p in model.parameters()):,}"
    facts: dict[str, object] = {"file": stored.path, "sha256": stored.hash, "parameters": parameters}
    config |= config.pop("flow")
    bits = config.pop("num_bits")
    facts["images"] = f"{image_text(*config.pop('image_shape'))}, {bits} bits"
    facts["latents"] = ", ".join("x".join(map(str, shape)) for shape in model.flow.latent_shapes)
    if attributes := (model.vocabulary.describe() or {}).get("attributes"):
        config["conditioning"] = "attributes"
        facts["attributes"] = ", ".join(
            item["name"] + ("" if item["kind"] == "yes_no" else f" {item['least']:.2f} to {item['most']:.2f}")
            for item in attributes
        )
    facts |= {_words(name): _text(value) for name, value in config.items()}
    facts["drawn with"] = str(model.generation)
    facts |= _training(training)
    return facts | ({"reference of scores": f"{reference['images']:,} ordinary images"} if reference else {})


def _training(facts: dict[str, Any]) -> dict[str, str]:
    """Return how long a model was trained and with which version, and all other facts of its training."""
    epoch, step, version = (facts.pop(name, None) for name in ("epoch", "step", "version"))
    counts = [(None if epoch is None else epoch + 1, "epoch"), (step, "step")]
    length = [pluralise(count, noun) for count, noun in counts if count is not None]
    trained = {"trained for": ", ".join(length) or None, "trained with": version and f"glow-app {version}"}
    return {name: _text(value) for name, value in [*trained.items(), *sorted(facts.items())] if value is not None}


def _words(name: str) -> str:
    """Return the name of a setting as words: ``num_levels`` as levels."""
    return name.removeprefix("num_").replace("_", " ")


def _text(value: Any) -> str:
    """Format a plain value as text, with rounded figures and without brackets."""
    if isinstance(value, Mapping) and "type" in value:
        arguments = _text({name: argument for name, argument in value.items() if name != "type"})
        return f"{value['type']} ({arguments})" if arguments else str(value["type"])
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(name)} {_text(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
