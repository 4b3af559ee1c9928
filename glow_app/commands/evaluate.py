"""Measure a model: bits/dim, FID, KID, precision and recall, copies of training images, exactness of its inverse."""

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app import __version__
from glow_app.commands.common import (
    add_model_arguments,
    add_output_arguments,
    device_of,
    load,
    output_folder,
    refuse_existing,
    stored_model,
    write_json,
)
from glow_app.commands.parser import positive_int, seed_number
from glow_app.commands.sample import guidance, temperatures
from glow_app.messages import UsageError, pluralise, size_text
from glow_app.numeric_limits import LARGEST_SEED

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.data import ImageSet
    from glow_app.evaluation import Comparison, EvaluationData, FeatureExtractor
    from glow_app.models.image_model import ImageModel

LEAST = 8  # images, for a comparison of features to mean anything at all
COMPARED = 256  # images of which the nearest training images are sought
SHOWN, NEIGHBOURS = 8, 4  # rows of the picture, and neighbours of each kind
SENT = 32  # images through the round trips
WIDTH = 28  # of the first column
PICTURE = "neighbours.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow evaluate``."""
    add_model_arguments(parser)
    add_output_arguments(parser, "evaluation")
    source = "source of the images, such as digits or folder (default: as in training, if recorded)"
    parser.add_argument("--source", default=None, help=source)
    root = "images to measure on: a folder other than that of the training is measured whole"
    parser.add_argument("--root", default=None, help=root, metavar="FOLDER")
    training = "folder of the images of the training, if it has moved or is not recorded"
    parser.add_argument("--training", default=None, help=training, metavar="FOLDER")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="held-out split")
    parser.add_argument("--limit", type=positive_int, default=2000, help="most held-out images to measure on")
    among = "most training images to search for nearest neighbours"
    parser.add_argument("--train-limit", type=positive_int, default=60_000, help=among)
    parser.add_argument(
        "--count", type=positive_int, default=None, help="number of samples (default: as many as held-out images)"
    )
    drawn = "temperature of the samples, or one per level (default: 1, the model's own distribution)"
    parser.add_argument("--temperature", type=temperatures, default=None, help=drawn)
    parser.add_argument("--guidance", type=guidance, default=None, help="guidance of the samples (default: 1)")
    tune = "search the temperature and guidance of the lowest FID, and store them with an exported model; nothing else"
    parser.add_argument("--tune", action="store_true", help=tune)
    parser.add_argument(
        "--draws", type=positive_int, default=16, help="dequantisation draws of the importance-weighted bits/dim"
    )
    features = "feature extractor: small, a TorchScript module, or a state dict of torchvision's inception_v3"
    parser.add_argument("--features", default="small", help=features, metavar="small|FILE")
    trust = "run the TorchScript module of --features, which is code"
    parser.add_argument("--trust-features", action="store_true", help=trust)
    places = "read the folders and addresses named by a checkpoint of somebody else"
    parser.add_argument("--trust-data", action="store_true", help=places)
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of all noise; image i uses seed + i")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="images per batch")


def run(arguments: argparse.Namespace) -> None:
    """Measure or tune, print, and write evaluation.json and, of a measurement, neighbours.png."""
    from glow_app.commands.evaluate_tune import tuned
    from glow_app.evaluation import load_features

    for name in ("limit", "count"):
        if (value := getattr(arguments, name)) is not None and value < LEAST:
            raise UsageError(f"--{name} is {value}; expected at least {LEAST}, of which features tell anything at all")
    for name in ("temperature", "guidance") if arguments.tune else ():
        if getattr(arguments, name) is not None:
            raise UsageError(f"--tune tries values of its own; leave --{name} out")
    path = Path(arguments.output) / "evaluation.json"
    refuse_existing([path] if arguments.tune else [path, path.with_name(PICTURE)], arguments.overwrite)
    extract = load_features(arguments.features, device_of(arguments), arguments.trust_features)
    model = load(arguments)
    data = _data(model, arguments)
    count = arguments.count or len(data.held_out)
    if len(data.held_out) < LEAST:
        raise ValueError(f"there are {len(data.held_out)} images to measure on; at least {LEAST} are needed")
    if count + arguments.seed > LARGEST_SEED:
        raise UsageError(f"--seed plus --count must stay below {LARGEST_SEED}, the largest seed")
    record = {
        "version": __version__,
        "model": stored_model(arguments).hash,
        "num_bits": model.num_bits,
        "data": data.facts,
    }
    record |= {"dtype": str(model.dtype)[6:], "seed": arguments.seed, "batch_size": arguments.batch_size}
    record |= (tuned if arguments.tune else _measured)(model, data, extract, count, arguments)
    write_json(output_folder(arguments) / path.name, _finite(record))
    print(f"all figures: {path}")


def _measured(
    model: "ImageModel",
    data: "EvaluationData",
    extract: "FeatureExtractor",
    count: int,
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Print all figures, and return them; write the picture of the nearest training images."""
    from glow_app.pictures.images import save_png

    bits = _bits(model, data.held_out, arguments)
    found, picture = _comparisons(model, data, extract, count, arguments)
    inverse = _inverse(model, data.held_out, arguments)
    if picture is not None:
        path = output_folder(arguments) / PICTURE
        save_png(picture, path, {"model": stored_model(arguments).hash, "seed": arguments.seed})
        print(f"nearest training images: {path}")
    return {"bits_per_dim": bits, **found, "inverse": inverse}


def _data(model: "ImageModel", arguments: argparse.Namespace) -> "EvaluationData":
    from glow_app.evaluation import evaluation_data

    given = {name for name in ("source", "root") if getattr(arguments, name) is not None}
    given |= set() if arguments.training is None else {"root"}
    recorded = stored_model(arguments).data(arguments.trust_data, given)
    for name in {"source", "root"} & recorded.keys() - given:
        print(f"{name} as in {arguments.checkpoint}: {recorded[name]!r}")
    data = evaluation_data(
        model,
        recorded,
        source=arguments.source,
        root=arguments.root,
        training=arguments.training,
        split=arguments.split,
        limit=arguments.limit,
        train_limit=arguments.train_limit,
    )
    known = "as in the training" if data.facts["as_in_training"] else "not recorded whether the training held them out"
    part = f"of the {arguments.split} split ({known})"
    if data.facts["split"] == "whole":
        whole = "the most that --limit allows" if len(data.held_out) == arguments.limit else "measured whole"
        part = f"of {arguments.root}, {whole} (not recorded whether the training held them out)"
    channels, height, width = model.flow.image_shape
    print(
        f"data: {data.facts['source']}, {pluralise(len(data.held_out), 'image')} {part}, "
        f"{size_text(width, height)}, {pluralise(channels, 'channel')}, {model.num_bits}-bit"
    )
    return data


def _bits(model: "ImageModel", images: "ImageSet", arguments: argparse.Namespace) -> dict[str, Any]:
    from glow_app.evaluation import mean_bits
    from glow_app.evaluation.bits import estimated_trace_note

    note = estimated_trace_note(model, math.prod(model.flow.latent_shapes[-1]))
    found = {}
    for draws in sorted({1, arguments.draws}):
        bits = mean_bits(model, images, draws, arguments.seed, arguments.batch_size)
        words = "one draw" if draws == 1 else f"{draws} draws, importance-weighted"
        print(_row("bits/dim", f"{bits.mean:.4f} ± {bits.standard_error:.4f}", f"{words}{note}"))
        found["one_draw" if draws == 1 else "importance_weighted"] = asdict(bits)
    found.setdefault("importance_weighted", found["one_draw"])  # of one draw, the same
    return found | {"trace_estimated": bool(note)}


def _comparisons(
    model: "ImageModel",
    data: "EvaluationData",
    extract: "FeatureExtractor",
    count: int,
    arguments: argparse.Namespace,
) -> "tuple[dict[str, Any], Any]":
    """Return what features tell of drawn images, and the picture of their nearest training images."""
    from glow_app.evaluation import batches, compare, draw_features, feature_facts, features_of

    size = arguments.batch_size
    labels = None if model.flow.num_classes is None else data.held_out.labels.tolist()
    temperature, guidance = (1.0 if one is None else one for one in (arguments.temperature, arguments.guidance))
    samples: dict[str, Any] = {"temperature": temperature, "guidance": guidance, "seed": arguments.seed}
    drawn, shown = draw_features(model, count, extract, labels=labels, batch_size=size, num_kept=COMPARED, **samples)
    # What a perfect model would score: other real images, as many as were drawn if there are so many.
    others = [] if data.train is None else [data.train.subset(range(min(count, len(data.train))))]
    real, *known = (features_of((part for part, _ in batches(one, size)), extract) for one in (data.held_out, *others))
    sets = {"drawn": compare(real, drawn, arguments.seed)}
    if known:
        sets["training_images"] = compare(real, known[0], arguments.seed)
    kind = f"{real.shape[1]} of them, trained on {extract.trained_on}"
    print(f"features: {extract.name} ({kind}), sha256 {extract.sha256}")
    guided = "" if guidance == 1 else f", guidance {guidance:g}"
    title = f"{count} drawn, T = {json.dumps(temperature)}{guided}"
    _print_comparisons(sets, title, *(f"{len(one)} training images" for one in known))
    near, picture = None, None
    if data.train is None:
        print("copies of training images: not looked for, as these are not known; give their folder with --training")
    else:
        near, picture = _neighbours(data.held_out, data.train, extract, shown, size)
    record = {
        "samples": {**samples, "count": count, "labels": labels and "those of the held-out images, in turn"},
        "features": feature_facts(extract, real.shape[1]),
        "comparisons": {name: asdict(one) for name, one in sets.items()}
        | {"training_images_compared": sum(map(len, known))},
        "nearest": near,
    }
    return record, picture


def _print_comparisons(sets: "dict[str, Comparison]", *titles: str) -> None:
    print(_row("", *titles))
    found = list(sets.values())
    print(_row("FID", *(f"{one.fid:.3f}" for one in found)))
    print(_row("KID x 1000", *(f"{1000 * one.kid.mean:.3f} ± {1000 * one.kid.std:.3f}" for one in found)))
    for name in ("precision", "recall"):
        print(_row(name, *(f"{getattr(one.precision_recall, name):.3f}" for one in found)))


def _neighbours(
    images: "ImageSet", train: "ImageSet", extract: "FeatureExtractor", drawn: "Tensor", batch_size: int
) -> tuple[dict[str, Any], Any]:
    import torch

    from glow_app.evaluation import TrainingNeighbours, nearness, neighbour_picture

    held_out = torch.from_numpy(images.head(COMPARED))
    neighbours = TrainingNeighbours(torch.cat([drawn, held_out]), train, extract, NEIGHBOURS, batch_size)
    kinds = {"features": neighbours.by_features, "pixels": neighbours.by_pixels}
    near: dict[str, Any] = {}
    blocks = {"drawn": drawn[:SHOWN, None]}
    for name, one in kinds.items():
        drawn_distances, held_out_distances = one.distances[:, 0].split([len(drawn), len(held_out)])
        near[name] = asdict(nearness(drawn_distances, held_out_distances))
        rows = one.indices[:SHOWN]
        nearest, _ = train.__getitems__(rows.flatten().tolist())
        blocks[f"nearest of {len(train)} training images by {name}"] = nearest.unflatten(0, rows.shape)
        text = f"{near[name]['drawn']:.3f} drawn, {near[name]['held_out']:.3f} held out"
        print(_row(f"nearest by {name}", text, f"nearer than held out: {near[name]['nearer']:.3f}"))
    near |= {"drawn_images": len(drawn), "held_out_images": len(held_out), "training_images": len(train)}
    return near, neighbour_picture(blocks)


def _inverse(model: "ImageModel", images: "ImageSet", arguments: argparse.Namespace) -> dict[str, Any]:
    from glow_app.evaluation import exactness, round_trips

    exact = exactness(model, images, arguments.batch_size)
    share = f"{exact.exact_images:.4%} of images"
    print(_row("reconstructed exactly", share, f"largest error {exact.max_pixel_error} of 255"))
    sent, labels = images.__getitems__(range(min(SENT, len(images))))
    trips = round_trips(model, sent, labels, arguments.seed)
    half = len(trips) // 2
    print(_row("error there and back", "float32: median, largest", "float64: median, largest"))
    for pair in zip(trips[:half], trips[half:], strict=True):
        print(_row(f"  {pair[0].start}", *(f"{one.median:.1e}, {one.largest:.1e} {one.unit}" for one in pair)))
    return {"reconstruction": asdict(exact), "round_trips": [asdict(one) for one in trips], "sent": len(sent)}


def _row(name: str, *cells: str) -> str:
    return f"{name:<{WIDTH}}" + "".join(f"{cell:<35} " for cell in cells).rstrip()


def _finite(value: Any) -> Any:
    """Return plain types with None for numbers that are not finite, which JSON cannot represent."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
