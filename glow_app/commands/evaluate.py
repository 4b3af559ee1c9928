"""Evaluate a model: bits/dim, FID, KID, precision and recall, copies of training images, exactness of its inverse.

A restoration model is evaluated by PSNR, SSIM, and the share of true values within intervals of its draws.
"""

import argparse
from typing import Any

from glow_app.commands.held_out_images import add_data_arguments, held_out_images
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import Parser, guidance, number_type, positive_int, seed_number
from glow_app.commands.results import free_paths, write_json
from glow_app.messages import UsageError

LEAST = 8  # minimum number of images for a meaningful comparison
LIMIT, LIMIT_RESTORED = 2000, 500  # default numbers of held-out images
DRAWS = 8  # default number of draws in the mean of a restoration
# Options that do not apply to restoration models, with their defaults.
SAMPLE_OPTIONS = {"guidance": None, "draws": 16, "features": None, "train_limit": 60_000}

_enough = number_type(int, LEAST)


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow evaluate``."""
    parser.add_model_arguments()
    parser.add_output_arguments()
    add_data_arguments(parser)
    most = f"maximum number of held-out images (default: {LIMIT}; {LIMIT_RESTORED} for a restoration model)"
    parser.add_argument("--limit", type=_enough, help=most)
    among = "maximum number of training images to search for nearest neighbours"
    parser.add_argument("--train-limit", type=_enough, default=SAMPLE_OPTIONS["train_limit"], help=among)
    samples = f"number of samples (default: as many as held-out images); restoration: draws per mean (default: {DRAWS})"
    parser.add_argument("--count", type=positive_int, help=samples)
    parser.add_temperature_argument("1; of a restoration model, its recommendation")
    parser.add_argument("--guidance", type=guidance, help="guidance of the samples (default: 1)")
    draws = "dequantisation draws of the importance-weighted bits/dim"
    parser.add_argument("--draws", type=positive_int, default=SAMPLE_OPTIONS["draws"], help=draws)
    features = "feature extractor: grey, colour, or the file of a TorchScript module (default: by the images' channels)"
    parser.add_argument("--features", help=features, metavar="grey|colour|FILE")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of all noise; image i uses seed + i")
    parser.add_batch_size_argument(64)


def run(arguments: argparse.Namespace) -> None:
    """Print the figures, and write evaluation.json and a picture."""
    from glow_app.commands.evaluate_restoration import evaluate_restorer
    from glow_app.commands.evaluate_samples import evaluate_samples
    from glow_app.evaluation import load_features
    from glow_app.evaluation.report import EVALUATION, METRICS, write_report
    from glow_app.pictures.images import save_picture
    from glow_app.restoration import task_of

    model, stored = load(arguments, restores=None)
    restores = task_of(model) is not None
    _check(arguments, restores)
    names = ["evaluation.json", "comparison.png" if restores else "neighbours.png"]
    path, picture_path = free_paths(arguments.output, names, arguments.overwrite)
    features = arguments.features or ("grey" if model.flow.image_shape[0] == 1 else "colour")
    extract = None if restores else load_features(features, model.device)
    limit = arguments.limit or (LIMIT_RESTORED if restores else LIMIT)
    data = held_out_images(model, stored, arguments, limit, 0 if restores else arguments.train_limit, LEAST)
    count = arguments.count or (DRAWS if restores else len(data.held_out))
    figures, picture = (
        evaluate_restorer(model, data, count, arguments)
        if extract is None
        else evaluate_samples(model, data, extract, count, arguments)
    )
    record: dict[str, Any] = {**provenance(stored), "num_bits": model.num_bits, "data": data.facts}
    record |= {"dtype": str(model.dtype)[6:], "seed": arguments.seed, "batch_size": arguments.batch_size, **figures}
    if picture is None:
        picture_path.unlink(missing_ok=True)  # that of an earlier model
    else:
        save_picture(picture, picture_path, {"model": stored.hash, "seed": arguments.seed})
        print(f"{'the first pictures' if restores else 'nearest training images'}: {picture_path}")
    write_json(path, record)
    print(f"all figures: {path}")
    folder = stored.path.parent
    if (folder / METRICS).exists():  # that of a run
        write_json(folder / EVALUATION, record)
        print(f"report: {write_report(folder)}")
    print(*record["verdict"], sep="\n")


def _check(arguments: argparse.Namespace, restores: bool) -> None:
    """Raise UsageError if an option does not apply to the model, or there are too few samples."""
    for name, default in SAMPLE_OPTIONS.items():
        if restores and getattr(arguments, name) != default:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to a restoration model; leave it out")
    if not restores and arguments.count is not None and arguments.count < LEAST:
        raise UsageError(f"--count must be at least {LEAST}, got {arguments.count}")
