"""Evaluation of a model that draws images for `glow evaluate`: likelihood, features, copies, exactness."""

import argparse
import json
from dataclasses import asdict
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from glow_app import evaluation
from glow_app.commands.held_out_images import print_bits
from glow_app.commands.results import print_row
from glow_app.data.image_set import ImageSet
from glow_app.evaluation import EvaluationData, FeatureExtractor
from glow_app.models.image_model import ImageModel
from glow_app.pictures.panels import neighbour_picture

COMPARED, SHOWN = 256, 8  # images whose nearest training images are searched, and rows of the picture


def evaluate_samples(
    model: ImageModel, data: EvaluationData, extract: FeatureExtractor, count: int, arguments: argparse.Namespace
) -> tuple[dict[str, Any], Image.Image | None]:
    """Print and return all figures; return a picture of the nearest training images, if these are known."""
    size = arguments.batch_size
    bits = evaluation.bits_record(model, data.held_out, arguments.draws, arguments.seed, size)
    print_bits(bits, len(data.held_out))
    record: dict[str, Any] = {"bits_per_dim": bits, "nearest": None}
    turns, picture = evaluation.turns_of(model, data.held_out, arguments.seed, size), None
    temperature, guidance = (1.0 if value is None else value for value in (arguments.temperature, arguments.guidance))
    settings: dict[str, Any] = {"temperature": temperature, "guidance": guidance, "seed": arguments.seed}
    drawn, features = evaluation.draw_samples(
        model, count, extract, num_kept=COMPARED, turns=turns, batch_size=size, **settings
    )
    record["samples"] = {**settings, "count": count, "given": turns and "that of the held-out images, in turn"}
    facts = {name: getattr(extract, name) for name in ("name", "trained_on", "sha256", "preprocessing")}
    record["features"] = {**facts, "num_features": features.shape[1]}
    record["comparisons"] = _comparisons(data, extract, features, settings, size)
    if data.train is None:
        print("copies of training images: not checked, since the training images are unknown; pass --training FOLDER")
    else:
        record["nearest"], picture = _neighbours(data.held_out, data.train, extract, drawn, size)
    exact = evaluation.exactness(model, data.held_out, size)
    error = f"largest error {exact.max_pixel_error} of 255"
    print_row("reconstructed exactly", f"{exact.exact_images:.4%} of images", error)
    record["reconstruction"] = asdict(exact)
    return record | {"verdict": evaluation.verdict(record)}, picture


def _comparisons(
    data: EvaluationData, extract: FeatureExtractor, drawn: Tensor, settings: dict[str, Any], batch_size: int
) -> dict[str, Any]:
    """Print and return the distances of the features of samples, and of training images, from held-out images."""
    sets = evaluation.compare_samples(data, extract, drawn, settings["seed"], batch_size)
    num_train = 0 if data.train is None else min(len(drawn), len(data.train))
    guided = "" if settings["guidance"] == 1 else f", guidance {settings['guidance']:g}"
    titles = [f"{len(drawn)} drawn, T = {json.dumps(settings['temperature'])}{guided}", f"{num_train} training images"]
    kind = f"{drawn.shape[1]} dimensions, trained on {extract.trained_on}"
    print(f"features: {extract.name} ({kind}), sha256 {extract.sha256}")
    print_row("", *titles[: len(sets)])
    print_row("FID", *(f"{each.fid:.3f}" for each in sets.values()))
    print_row("KID x 1000", *(f"{1000 * each.kid:.3f} ± {1000 * each.kid_std:.3f}" for each in sets.values()))
    for name in ("precision", "recall"):
        print_row(name, *(f"{getattr(each, name):.3f}" for each in sets.values()))
    return {name: asdict(comparison) for name, comparison in sets.items()} | {"training_images_compared": num_train}


def _neighbours(
    images: ImageSet, train: ImageSet, extract: FeatureExtractor, drawn: Tensor, batch_size: int
) -> tuple[dict[str, Any], Image.Image]:
    """Return the nearness of samples to training images, and a picture of the nearest."""
    held_out = torch.from_numpy(images.head(COMPARED))
    nearest = evaluation.nearest_training_images(drawn, held_out, train, extract, batch_size, num_shown=SHOWN)
    blocks = {"drawn": drawn[:SHOWN, None]}
    blocks |= {f"nearest of {len(train)} training images by {name}": images for name, (_, images) in nearest.items()}
    counts = {"drawn_images": len(drawn), "held_out_images": len(held_out), "training_images": len(train)}
    return {name: nearer for name, (nearer, _) in nearest.items()} | counts, neighbour_picture(blocks)
