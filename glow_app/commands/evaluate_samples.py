"""Evaluation of samples for `glow evaluate`: their features and their nearest training images."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from glow_app.commands.results import table_row

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from glow_app.data.image_set import ImageSet
    from glow_app.evaluation import EvaluationData, FeatureExtractor
    from glow_app.models.image_model import ImageModel

COMPARED = 256  # images whose nearest training images are searched
SHOWN, NEAREST = 8, 4  # rows of the picture, and neighbours of each kind
NEIGHBOURS = "neighbours.png"
NO_FEATURES = (
    "features: none, since the bundled extractor is for grey clothes; --features FILE, such as the weights of "
    "torchvision's inception_v3, adds FID, KID, precision and recall"
)


def feature_extractor(model: "ImageModel", features: str) -> "FeatureExtractor | None":
    """Return the extractor of ``--features``; None for restorers, and for colours with that of grey images."""
    from glow_app.evaluation import load_features

    if model.task is not None or (features == "small" and model.flow.image_shape[0] != 1):
        return None
    return load_features(features, model.device)


def measure_samples(
    model: "ImageModel",
    data: "EvaluationData",
    extract: "FeatureExtractor | None",
    count: int,
    arguments: argparse.Namespace,
) -> "tuple[dict[str, Any], Image.Image | None]":
    """Print and return the figures of samples; return a picture of the nearest training images, if these are known.

    Args:
        model: The model.
        data: Held-out images and training images.
        extract: The feature extractor; without one, only pixels are compared.
        count: Number of samples.
        arguments: Of ``glow evaluate``.
    """
    from glow_app.evaluation import draw_samples, feature_facts

    size, count = arguments.batch_size, count if extract else min(count, COMPARED)
    labels = None if model.flow.num_classes is None else data.held_out.labels.tolist()
    temperature, guidance = (1.0 if value is None else value for value in (arguments.temperature, arguments.guidance))
    samples: dict[str, Any] = {"temperature": temperature, "guidance": guidance, "seed": arguments.seed}
    drawn, features = draw_samples(model, count, extract, num_kept=COMPARED, labels=labels, batch_size=size, **samples)
    record: dict[str, Any] = {"features": None, "comparisons": None, "nearest": None}
    record["samples"] = {**samples, "count": count, "labels": labels and "those of the held-out images, in turn"}
    if extract is None or features is None:
        print(NO_FEATURES)
    else:
        guided = "" if guidance == 1 else f", guidance {guidance:g}"
        title = f"{count} drawn, T = {json.dumps(temperature)}{guided}"
        record["features"] = feature_facts(extract, features.shape[1])
        record["comparisons"] = _comparisons(data, extract, features, title, arguments)
    if data.train is None:
        print("copies of training images: not checked, since the training images are unknown; give --training FOLDER")
        return record, None
    record["nearest"], picture = _neighbours(data.held_out, data.train, extract, drawn, size)
    return record, picture


def _comparisons(
    data: "EvaluationData", extract: "FeatureExtractor", drawn: "Tensor", title: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Print and return the distances of the features of samples, and of training images, from held-out images."""
    from glow_app.evaluation import batches, compare, features_of

    # The score of a perfect model: other real images, as many as there are samples, if available.
    others = [] if data.train is None else [data.train.subset(range(min(len(drawn), len(data.train))))]
    size = arguments.batch_size
    real, *train = (
        features_of((part for part, _ in batches(images, size, "features")), extract)
        for images in (data.held_out, *others)
    )
    sets = {"drawn": compare(real, drawn, arguments.seed)}
    if train:
        sets["training_images"] = compare(real, train[0], arguments.seed)
    kind = f"{real.shape[1]} dimensions, trained on {extract.trained_on}"
    print(f"features: {extract.name} ({kind}), sha256 {extract.sha256}")
    print(table_row("", title, *(f"{len(features)} training images" for features in train)))
    print(table_row("FID", *(f"{each.fid:.3f}" for each in sets.values())))
    print(table_row("KID x 1000", *(f"{1000 * each.kid:.3f} ± {1000 * each.kid_std:.3f}" for each in sets.values())))
    for name in ("precision", "recall"):
        print(table_row(name, *(f"{getattr(each, name):.3f}" for each in sets.values())))
    plain: dict[str, Any] = {name: asdict(comparison) for name, comparison in sets.items()}
    return plain | {"training_images_compared": sum(map(len, train))}


def _neighbours(
    images: "ImageSet", train: "ImageSet", extract: "FeatureExtractor | None", drawn: "Tensor", batch_size: int
) -> "tuple[dict[str, Any], Image.Image]":
    """Print and return the nearness of samples to training images, and return a picture of the nearest."""
    import torch

    from glow_app.evaluation import TrainingNeighbours, nearness
    from glow_app.pictures.panels import neighbour_picture

    held_out = torch.from_numpy(images.head(COMPARED))
    neighbours = TrainingNeighbours(torch.cat([drawn, held_out]), train, extract, NEAREST, batch_size)
    near: dict[str, Any] = {}
    blocks = {"drawn": drawn[:SHOWN, None]}
    for name, ranked in (("features", neighbours.by_features), ("pixels", neighbours.by_pixels)):
        if ranked is None:
            continue
        near[name] = asdict(nearness(*ranked.distances[:, 0].split([len(drawn), len(held_out)])))
        rows = ranked.indices[:SHOWN]
        nearest, _ = train.__getitems__(rows.flatten().tolist())
        blocks[f"nearest of {len(train)} training images by {name}"] = nearest.unflatten(0, rows.shape)
        text = f"{near[name]['drawn']:.3f} drawn, {near[name]['held_out']:.3f} held out"
        print(table_row(f"nearest by {name}", text, f"nearer than held out: {near[name]['nearer']:.3f}"))
    near |= {"drawn_images": len(drawn), "held_out_images": len(held_out), "training_images": len(train)}
    return near, neighbour_picture(blocks)
