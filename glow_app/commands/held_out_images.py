"""The held-out images on which `glow test` and `glow evaluate` measure a model, and its bits/dim on them."""

import argparse
from typing import TYPE_CHECKING, Any

from glow_app.commands.parser import Parser
from glow_app.commands.results import print_row
from glow_app.messages import pluralise, printable, size_text

if TYPE_CHECKING:
    from glow_app.evaluation import EvaluationData
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel


def add_data_arguments(parser: Parser) -> None:
    """Add ``--source``, ``--root``, ``--training`` and ``--split``."""
    source = "source of the images, such as digits or folder (default: as in training, if recorded)"
    parser.add_argument("--source", help=source)
    root = "folder of images (default: as in training); any other folder is measured as a whole"
    parser.add_argument("--root", help=root, metavar="FOLDER")
    training = "folder of the training images, if it has moved or is not recorded"
    parser.add_argument("--training", help=training, metavar="FOLDER")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="held-out split")


def held_out_images(
    model: "ImageModel",
    stored: "StoredModel",
    arguments: argparse.Namespace,
    limit: int | None,
    train_limit: int,
    least: int,
) -> "EvaluationData":
    """Return the images of :func:`add_data_arguments`, and print what they are; ValueError if fewer than ``least``."""
    from glow_app.evaluation import data_arguments, evaluation_data

    chosen = {name: getattr(arguments, name) for name in ("source", "root", "training", "split")}
    recorded = stored.data()
    measured = data_arguments(recorded, **chosen)[1]
    named = {"source": arguments.source, "root": arguments.root or arguments.training}
    for name, value in named.items():
        if value is None and name in recorded and measured.get(name) == recorded[name]:
            print(printable(f"{name}: {recorded[name]} (as in training)"))
    data = evaluation_data(model, recorded, limit=limit, train_limit=train_limit, **chosen)
    if len(data.held_out) < least:
        raise ValueError(
            f"got {pluralise(len(data.held_out), 'image')}, too few to measure on: pass a folder of at least {least} "
            "other images as --root, or train with a larger --data.test_fraction"
        )
    origin = "held out from the training" if data.facts["as_in_training"] else "not checked for training images"
    part = f"of the {arguments.split} split ({origin})"
    if data.facts["split"] == "whole":
        whole = "limited by --limit" if len(data.held_out) == limit else "the whole folder"
        part = f"of {arguments.root}, {whole} ({origin})"
    channels, height, width = model.flow.image_shape
    labels = "" if model.vocabulary.has_labels(data.held_out) else ", labels unknown"
    print(
        f"data: {data.facts['source']}, {pluralise(len(data.held_out), 'image')} {part}, "
        f"{size_text(width, height)}, {pluralise(channels, 'channel')}, {model.num_bits}-bit{labels}"
    )
    return data


def print_bits(bits: dict[str, Any], num_images: int, note: str = "") -> None:
    """Print a record of :func:`~glow_app.evaluation.bits_record`; ``note`` is added to each row of the model."""
    from glow_app.evaluation.bits import PNG_IMAGES

    note = f"{', trace of the prior estimated' if bits['trace_estimated'] else ''}{note}"
    single, weighted = bits["one_draw"], bits["importance_weighted"]
    for each in [single] if single == weighted else [single, weighted]:
        draws = each["draws"]
        words = "one draw" if draws == 1 else f"{draws} draws, importance-weighted"
        print_row("bits/dim", f"{each['mean']:.4f} ± {each['standard_error']:.4f}", f"{words}{note}")
    which = "the same images" if num_images <= PNG_IMAGES else f"the first {PNG_IMAGES:,} images"
    print_row("bits/dim of a PNG", f"{bits['png']:.4f}", f"of {which}, stacked")
