"""Evaluate a model: bits/dim, FID, KID, precision and recall, copies of training images, exactness of its inverse.

A restoration model is evaluated by PSNR, SSIM, and the share of true values within intervals of its draws.
"""

import argparse
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from glow_app.commands.evaluate_restoration import COMPARISON, DRAWS, RESTORED, measure_restorer, refuse_sample_options
from glow_app.commands.evaluate_samples import NEIGHBOURS, feature_extractor, measure_samples
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import (
    Parser,
    guidance,
    number_type,
    positive_int,
    require_seeds,
    seed_number,
    temperatures,
)
from glow_app.commands.results import refuse_existing, table_row, write_json
from glow_app.messages import UsageError, pluralise, size_text

if TYPE_CHECKING:
    from PIL import Image

    from glow_app.data.image_set import ImageSet
    from glow_app.evaluation import EvaluationData
    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel

LIMIT = 2000  # default number of held-out images
LEAST = 8  # minimum number of images for a meaningful comparison
REFERENCE_IMAGES = 10_000  # maximum number of images in the PNG, all of which are in memory

_enough = number_type(int, LEAST)


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow evaluate``."""
    parser.add_model_arguments()
    parser.add_output_arguments("evaluation")
    source = "source of the images, such as digits or folder (default: as in training, if recorded)"
    parser.add_argument("--source", help=source)
    root = "folder of images (default: as in training); any other folder is measured as a whole"
    parser.add_argument("--root", help=root, metavar="FOLDER")
    training = "folder of the training images, if it has moved or is not recorded"
    parser.add_argument("--training", help=training, metavar="FOLDER")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="held-out split")
    most = f"largest number of held-out images (default: {LIMIT}; {RESTORED} for a restoration model)"
    parser.add_argument("--limit", type=_enough, help=most)
    among = "largest number of training images to search for nearest neighbours"
    parser.add_argument("--train-limit", type=_enough, default=60_000, help=among)
    samples = (
        f"number of samples (default: as many as held-out images); for a restoration model, draws in a mean ({DRAWS})"
    )
    parser.add_argument("--count", type=positive_int, help=samples)
    drawn = (
        "temperature of the samples, or one per level (default: 1, the model's own distribution; for a restoration "
        "model, that of glow restore)"
    )
    parser.add_argument("--temperature", type=temperatures, help=drawn)
    parser.add_argument("--guidance", type=guidance, help="guidance of the samples (default: 1)")
    draws = "dequantisation draws of the importance-weighted bits/dim"
    parser.add_argument("--draws", type=positive_int, default=16, help=draws)
    features = (
        "feature extractor: small (grey images only), a TorchScript module, or torchvision's inception_v3 weights"
    )
    parser.add_argument("--features", default="small", help=features, metavar="small|FILE")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of all noise; image i uses seed + i")
    parser.add_batch_size_argument(64)


def run(arguments: argparse.Namespace) -> None:
    """Print the figures, and write evaluation.json and a picture."""
    from glow_app.evaluation import verdict
    from glow_app.pictures.images import save_png

    path = arguments.output / "evaluation.json"
    refuse_existing([path], arguments.overwrite)
    model, stored = load(arguments, restores=None)
    if model.task is not None:
        refuse_sample_options(model.task, arguments)
    elif arguments.count is not None and arguments.count < LEAST:
        raise UsageError(f"--count must be at least {LEAST}, got {arguments.count}")
    picture_path = path.with_name(NEIGHBOURS if model.task is None else COMPARISON)
    refuse_existing([picture_path], arguments.overwrite)
    extract = feature_extractor(model, arguments.features)
    data = _data(model, stored, arguments)
    if len(data.held_out) < LEAST:
        raise ValueError(f"there are {len(data.held_out)} images to measure on; expected at least {LEAST}")
    count = arguments.count or (len(data.held_out) if model.task is None else DRAWS)
    require_seeds(arguments.seed, count)
    record: dict[str, Any] = {**provenance(stored), "num_bits": model.num_bits, "data": data.facts}
    record |= {"dtype": str(model.dtype)[6:], "seed": arguments.seed, "batch_size": arguments.batch_size}
    picture: Image.Image | None
    if model.task is not None:
        figures, picture = measure_restorer(model, data.held_out, count, arguments)
    else:
        record["bits_per_dim"] = _bits(model, data.held_out, arguments)
        figures, picture = measure_samples(model, data, extract, count, arguments)
        figures["reconstruction"] = _reconstruction(model, data.held_out, arguments.batch_size)
        figures["verdict"] = verdict(record | figures)
    record |= figures
    path.parent.mkdir(parents=True, exist_ok=True)
    if picture is None:
        picture_path.unlink(missing_ok=True)  # that of an earlier model
    else:
        save_png(picture, picture_path, {"model": stored.hash, "seed": arguments.seed})
        print(f"{'nearest training images' if model.task is None else 'the first pictures'}: {picture_path}")
    write_json(path, record)
    print(f"all figures: {path}")
    print(*record["verdict"], sep="\n")


def _data(model: "ImageModel", stored: "StoredModel", arguments: argparse.Namespace) -> "EvaluationData":
    """Return the images to measure on, and print what they are."""
    from glow_app.evaluation import evaluation_data

    limit = arguments.limit or (LIMIT if model.task is None else RESTORED)
    train_limit = arguments.train_limit if model.task is None else 0  # restorations need no training images
    given = {name: getattr(arguments, name) for name in ("source", "root", "training", "split")}
    recorded = stored.data()
    known = {"source": arguments.source, "root": arguments.root or arguments.training}
    for name in [name for name, value in known.items() if value is None and name in recorded]:
        print(f"{name} as in {arguments.checkpoint}: {recorded[name]!r}")
    data = evaluation_data(model, recorded, limit=limit, train_limit=train_limit, **given)
    is_known = data.facts["as_in_training"]
    origin = "as in the training" if is_known else "the model may have been trained on them"
    part = f"of the {arguments.split} split ({origin})"
    if data.facts["split"] == "whole":
        whole = "limited by --limit" if len(data.held_out) == limit else "the whole folder"
        part = f"of {arguments.root}, {whole} ({origin})"
    channels, height, width = model.flow.image_shape
    print(
        f"data: {data.facts['source']}, {pluralise(len(data.held_out), 'image')} {part}, "
        f"{size_text(width, height)}, {pluralise(channels, 'channel')}, {model.num_bits}-bit"
    )
    return data


def _bits(model: "ImageModel", images: "ImageSet", arguments: argparse.Namespace) -> dict[str, Any]:
    from glow_app.evaluation import mean_bits
    from glow_app.evaluation.bits import estimated_trace_note
    from glow_app.generation.baselines import png_bits_per_dim

    note = estimated_trace_note(model, math.prod(model.flow.latent_shapes[-1]))
    figures = {}
    for draws in sorted({1, arguments.draws}):
        bits = mean_bits(model, images, draws, arguments.seed, arguments.batch_size)
        words = "one draw" if draws == 1 else f"{draws} draws, importance-weighted"
        print(table_row("bits/dim", f"{bits.mean:.4f} ± {bits.standard_error:.4f}", f"{words}{note}"))
        figures["one_draw" if draws == 1 else "importance_weighted"] = asdict(bits)
    figures.setdefault("importance_weighted", figures["one_draw"])  # the same for a single draw
    png = png_bits_per_dim(images.head(REFERENCE_IMAGES), model.num_bits)
    print(table_row("bits/dim of a PNG", f"{png:.4f}", "of the same images, stacked vertically"))
    return figures | {"png": png, "trace_estimated": bool(note)}


def _reconstruction(model: "ImageModel", images: "ImageSet", batch_size: int) -> dict[str, Any]:
    from glow_app.evaluation import batches
    from glow_app.generation import reconstruct

    exact = error = 0
    for part, labels in batches(images, batch_size, "reconstructing"):
        result = reconstruct(model, part, labels)
        exact += int((result.images == model.quantised(part)).flatten(1).all(1).sum())
        error = max(error, result.max_pixel_error)
    share = exact / len(images)
    print(table_row("reconstructed exactly", f"{share:.4%} of images", f"largest error {error} of 255"))
    return {"exact_images": share, "max_pixel_error": error}
