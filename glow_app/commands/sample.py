"""Draw images; image i depends on the seed plus i alone."""

import argparse
import json
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app import __version__
from glow_app.commands.common import (
    add_label_argument,
    add_model_arguments,
    add_output_arguments,
    load,
    output_folder,
    positive_int,
    refuse_existing,
)
from glow_app.files import atomic_file
from glow_app.usage import UsageError

if TYPE_CHECKING:
    from glow_app.model import ImageModel

LARGEST_SEED = 2**31 - 1
LARGEST_SWEEP = 12  # images a row
SECONDS_A_STOP = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow sample``."""
    add_model_arguments(parser)
    add_output_arguments(parser, "samples")
    parser.add_argument(
        "--temperature", type=temperatures, default=0.7, help="factor on the base noise, or one a level: 0.7,0.9,1.0"
    )
    parser.add_argument("--count", type=positive_int, default=16, help="how many images")
    parser.add_argument("--seed", type=seed, default=None, help="of the first image; drawn and printed if left out")
    add_label_argument(parser, "classes to take in turn, if it has classes", several=True)
    parser.add_argument("--batch-size", type=positive_int, default=16, help="images at a time")
    sweep = "also a picture of the same noise at these temperatures"
    parser.add_argument("--sweep", type=temperatures, default=None, help=sweep, metavar="T,T,...")
    walk = "also an animation by way of so many of the images"
    parser.add_argument("--walk", type=positive_int, default=None, help=walk, metavar="N")


def run(arguments: argparse.Namespace) -> None:
    """Write the images, a grid and what made them."""
    import torch

    from glow_app.generation import sample_batches
    from glow_app.images import grid, save_png, to_pil
    from glow_app.pretrained import model_hash

    if arguments.count + (arguments.seed or 0) > LARGEST_SEED:
        raise UsageError(f"--seed plus --count must stay below {LARGEST_SEED}, the largest seed")
    model = load(arguments)
    seed = random.SystemRandom().randrange(LARGEST_SEED - arguments.count) if arguments.seed is None else arguments.seed
    folder = Path(arguments.output)
    suffix = f"t{_text(arguments.temperature)}.png"
    names = [f"seed{seed + i:06d}_{suffix}" for i in range(arguments.count)]
    more = [name for name, wanted in (("sweep.png", arguments.sweep), ("walk.gif", arguments.walk)) if wanted]
    refuse_existing([folder / name for name in [*names, "grid.png", "run.json", *more]], arguments.overwrite)
    facts = {"temperature": arguments.temperature, "model": model_hash(model), "version": __version__}
    label = arguments.label
    if label is not None:
        label = facts["label"] = label[0] if len(label) == 1 else label

    images = []
    batches = sample_batches(model, arguments.count, arguments.temperature, seed, label, arguments.batch_size)
    for name, (one, image) in zip(names, batches, strict=True):
        save_png(to_pil(image), output_folder(arguments) / name, {"seed": one, **facts})
        images.append(image.cpu())
    columns = None if label is not None else _columns(arguments.count, model.flow.num_classes)
    save_png(grid(torch.stack(images), columns), folder / "grid.png", {"seed": seed, "count": arguments.count, **facts})
    _write_more(model, arguments, seed, label, folder)
    record = {"seed": seed, "count": arguments.count, **facts, "checkpoint": str(arguments.checkpoint), "files": names}
    with atomic_file(folder / "run.json") as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())
    shown = _text(arguments.temperature, "g", ", ")
    print(f"{arguments.count} images at temperature {shown}, seed {seed}: {folder / 'grid.png'}")
    for name in more:
        print(f"{name.partition('.')[0]}: {folder / name}")


def _columns(count: int, num_classes: int | None) -> int | None:
    """Return images a row of about as many rows, such that a class keeps to its columns."""
    return None if num_classes is None else num_classes * max(1, round(math.sqrt(count) / num_classes))


def _write_more(
    model: "ImageModel", arguments: argparse.Namespace, seed: int, label: int | list[int] | None, folder: Path
) -> None:
    """Write the sweep and the walk."""
    from glow_app.animations import save_animation
    from glow_app.generation import sweep, walk
    from glow_app.images import grid, save_png

    if arguments.sweep is not None:
        values = [arguments.sweep] if isinstance(arguments.sweep, float) else arguments.sweep
        count = min(arguments.count, LARGEST_SWEEP)
        rows = sweep(model, values, range(seed, seed + count), label)
        text = {"temperatures": _text(values, "g", ", "), "seed": seed}
        save_png(grid(rows.flatten(0, 1), columns=count), folder / "sweep.png", text)
    if arguments.walk is not None:
        frames = walk(model, arguments.walk, arguments.temperature, seed, label)
        save_animation(frames, folder / "walk.gif", seconds=arguments.walk * SECONDS_A_STOP)


def _text(values: float | list[float], form: str = ".2f", between: str = "-") -> str:
    return between.join(format(value, form) for value in ([values] if isinstance(values, float) else values))


def temperatures(text: str) -> float | list[float]:
    """Return one temperature or, separated by commas, several, for argparse."""
    values = [temperature(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def temperature(text: str) -> float:
    """Return a temperature, for argparse, whose message for other text names this function."""
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} is not a temperature; expected a finite number from 0 (0.7 is usual)")
    return value


def seed(text: str) -> int:
    """Return a seed, for argparse."""
    value = int(text)
    if not 0 <= value <= LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a seed; expected 0 to {LARGEST_SEED}")
    return value
