"""Evaluation of samples for `glow evaluate`: their features and their nearest training images."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from glow_app.commands.common import table_row
from glow_app.progress import tracked

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.data import ImageSet
    from glow_app.evaluation import Comparison, EvaluationData, FeatureExtractor
    from glow_app.models.image_model import ImageModel

COMPARED = 256  # images whose nearest training images are searched
SHOWN, NEIGHBOURS = 8, 4  # rows of the picture, and neighbours of each kind
NO_FEATURES = (
    "features: none, since the bundled ones describe grey clothes and would call colour blobs real; with --features "
    "FILE, such as the weights of torchvision's inception_v3, FID, KID, precision and recall are measured"
)


def measured_samples(
    model: "ImageModel",
    data: "EvaluationData",
    extract: "FeatureExtractor | None",
    count: int,
    arguments: argparse.Namespace,
) -> "tuple[dict[str, Any], Any]":
    """Print and return the figures of features and nearest training images; return a picture of the latter, too.

    Without an extractor, only pixels are compared.
    """
    import torch

    from glow_app.evaluation import draw_features, feature_facts
    from glow_app.generation.sample import seeded_batches

    size = arguments.batch_size
    labels = None if model.flow.num_classes is None else data.held_out.labels.tolist()
    temperature, guidance = (1.0 if value is None else value for value in (arguments.temperature, arguments.guidance))
    samples: dict[str, Any] = {"temperature": temperature, "guidance": guidance, "seed": arguments.seed}
    if extract is None:
        count = min(count, COMPARED)
        parts = seeded_batches(model, count, temperature, arguments.seed, labels, size, guidance)
        drawn = torch.cat([images.cpu() for _, images in tracked(parts, -(-count // size), "drawing")])
        features, comparisons = None, None
        print(NO_FEATURES)
    else:
        options = {**samples, "labels": labels, "batch_size": size}
        drawn_features, drawn = draw_features(model, count, extract, num_kept=COMPARED, **options)
        features = feature_facts(extract, drawn_features.shape[1])
        guided = "" if guidance == 1 else f", guidance {guidance:g}"
        title = f"{count} drawn, T = {json.dumps(temperature)}{guided}"
        comparisons = _comparisons(data, extract, drawn_features, title, arguments)
    near, picture = None, None
    if data.train is None:
        print("copies of training images: not looked for, as these are not known; give their folder with --training")
    else:
        near, picture = _neighbours(data.held_out, data.train, extract, drawn, size)
    record = {
        "samples": {**samples, "count": count, "labels": labels and "those of the held-out images, in turn"},
        "features": features,
        "comparisons": comparisons,
        "nearest": near,
    }
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
    kind = f"{real.shape[1]} of them, trained on {extract.trained_on}"
    print(f"features: {extract.name} ({kind}), sha256 {extract.sha256}")
    _print_comparisons(sets, title, *(f"{len(features)} training images" for features in train))
    plain: dict[str, Any] = {name: asdict(comparison) for name, comparison in sets.items()}
    return plain | {"training_images_compared": sum(map(len, train))}


def _print_comparisons(sets: "dict[str, Comparison]", *titles: str) -> None:
    print(table_row("", *titles))
    print(table_row("FID", *(f"{each.fid:.3f}" for each in sets.values())))
    print(table_row("KID x 1000", *(f"{1000 * each.kid:.3f} ± {1000 * each.kid_std:.3f}" for each in sets.values())))
    for name in ("precision", "recall"):
        print(table_row(name, *(f"{getattr(each, name):.3f}" for each in sets.values())))


def _neighbours(
    images: "ImageSet", train: "ImageSet", extract: "FeatureExtractor | None", drawn: "Tensor", batch_size: int
) -> tuple[dict[str, Any], Any]:
    import torch

    from glow_app.evaluation import TrainingNeighbours, nearness
    from glow_app.pictures.panels import neighbour_picture

    held_out = torch.from_numpy(images.head(COMPARED))
    neighbours = TrainingNeighbours(torch.cat([drawn, held_out]), train, extract, NEIGHBOURS, batch_size)
    kinds = {"features": neighbours.by_features, "pixels": neighbours.by_pixels}
    near: dict[str, Any] = {}
    blocks = {"drawn": drawn[:SHOWN, None]}
    for name, nearest_images in kinds.items():
        if nearest_images is None:
            continue
        drawn_distances, held_out_distances = nearest_images.distances[:, 0].split([len(drawn), len(held_out)])
        near[name] = asdict(nearness(drawn_distances, held_out_distances))
        rows = nearest_images.indices[:SHOWN]
        nearest, _ = train.__getitems__(rows.flatten().tolist())
        blocks[f"nearest of {len(train)} training images by {name}"] = nearest.unflatten(0, rows.shape)
        text = f"{near[name]['drawn']:.3f} drawn, {near[name]['held_out']:.3f} held out"
        print(table_row(f"nearest by {name}", text, f"nearer than held out: {near[name]['nearer']:.3f}"))
    near |= {"drawn_images": len(drawn), "held_out_images": len(held_out), "training_images": len(train)}
    return near, neighbour_picture(blocks)
