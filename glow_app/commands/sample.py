"""Draw images; image i depends on the seed plus i alone."""

import argparse
import json
import math
import random
from pathlib import Path

from glow_app import __version__
from glow_app.commands.common import (
    add_model_arguments,
    add_output_arguments,
    load,
    output_folder,
    positive_int,
    refuse_existing,
)
from glow_app.files import atomic_file
from glow_app.usage import UsageError

LARGEST_SEED = 2**31 - 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``glow sample``."""
    add_model_arguments(parser)
    add_output_arguments(parser, "samples")
    parser.add_argument("--temperature", type=temperature, default=0.7, help="factor on the base noise")
    parser.add_argument("--count", type=positive_int, default=16, help="how many images")
    parser.add_argument("--seed", type=seed, default=None, help="of the first image; drawn and printed if left out")
    parser.add_argument("--label", type=int, default=None, help="class, for a class-conditional model")
    parser.add_argument("--batch-size", type=positive_int, default=16, help="images at a time")


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
    suffix = f"t{arguments.temperature:.2f}.png"
    names = [f"seed{seed + i:06d}_{suffix}" for i in range(arguments.count)]
    refuse_existing([folder / name for name in [*names, "grid.png", "run.json"]], arguments.overwrite)
    facts = {"temperature": arguments.temperature, "model": model_hash(model), "version": __version__}
    if arguments.label is not None:
        facts["label"] = arguments.label

    images = []
    batches = sample_batches(model, arguments.count, arguments.temperature, seed, arguments.label, arguments.batch_size)
    for name, (one, image) in zip(names, batches, strict=True):
        save_png(to_pil(image), output_folder(arguments) / name, {"seed": one, **facts})
        images.append(image.cpu())
    columns = model.flow.num_classes if arguments.label is None else None
    save_png(grid(torch.stack(images), columns), folder / "grid.png", {"seed": seed, "count": arguments.count, **facts})
    record = {"seed": seed, "count": arguments.count, **facts, "checkpoint": str(arguments.checkpoint), "files": names}
    with atomic_file(folder / "run.json") as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())
    print(f"{arguments.count} images at temperature {arguments.temperature:g}, seed {seed}: {folder / 'grid.png'}")


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
