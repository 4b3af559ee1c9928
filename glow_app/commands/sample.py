"""Draw images; image i depends only on seed + i."""

import argparse
import math
import re
from typing import TYPE_CHECKING, Any

from glow_app.commands.loading import load, provenance, read_chosen_attributes, read_given
from glow_app.commands.parser import Parser, guidance, positive_int, require_seeds, seed_number
from glow_app.commands.results import ResultsFolder
from glow_app.messages import UsageError, pluralise
from glow_app.progress import tracked

if TYPE_CHECKING:
    from glow_app.conditioning import Given
    from glow_app.models.generation_settings import GenerationSettings
    from glow_app.models.image_model import ImageModel

USUAL_COUNT = 16
LARGEST_GRID = 100  # maximum number of images in a grid
GUIDED = "guidance is not 1: these are not samples of the model's own distribution"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow sample``."""
    parser.add_model_arguments()
    parser.add_output_arguments("NAME.png")
    parser.add_temperature_argument("the model's recommendation")
    beyond = (
        "strength of class or attributes: 1 is the model itself, above 1 exaggerates (default: the recommended one)"
    )
    parser.add_argument("--guidance", type=guidance, help=beyond)
    count = f"number of images (default: {USUAL_COUNT}, or the next multiple of the number of given values)"
    parser.add_argument("--count", type=positive_int, help=count)
    first = "seed of the first image; image i uses seed + i (default: random, and printed)"
    parser.add_argument("--seed", type=seed_number, help=first)
    turns = "what to draw, such as a class by name or number; several take turns by the seed (default: all)"
    parser.add_argument("--given", nargs="+", help=turns, metavar="VALUE")
    parser.add_attribute_arguments()
    other = "size of the images in pixels, for textures or smaller pictures of a wavelet flow (default: the model's)"
    parser.add_argument("--size", type=image_size, help=other, metavar="WIDTHxHEIGHT")
    parser.add_batch_size_argument()


def run(arguments: argparse.Namespace) -> None:
    """Write the images, a grid and the record of the run."""
    from glow_app.pipeline.sampling import draw_settings, turn_length
    from glow_app.seeding import random_seed

    if arguments.given and (arguments.present or arguments.absent):
        raise UsageError("use either --given or --with and --without, not both")
    model, stored = load(arguments)
    turns = read_chosen_attributes(model, arguments) or read_given(model, arguments.given)
    if arguments.size:
        model.flow.latent_shapes_at(*arguments.size)  # refuses invalid sizes before anything is written
    settings = draw_settings(model, arguments.temperature, arguments.guidance)
    turn = turn_length(model, turns)
    count = arguments.count or turn * math.ceil(USUAL_COUNT / turn)
    require_seeds(arguments.seed or 0, count)
    first = random_seed(count) if arguments.seed is None else arguments.seed
    record = {"seed": first, "count": count, "checkpoint": str(arguments.checkpoint)}
    record |= ({} if turns is None else {"given": turns}) | ({} if settings.guidance == 1 else {"note": GUIDED})
    common = settings.to_plain() | provenance(stored)
    main = "grid.png" if count > 1 else _name(first, settings)
    with ResultsFolder(arguments.output, arguments.overwrite, common, record, main) as folder:
        shown = _write(model, folder, range(first, first + count), turns, settings, arguments)
    part = "" if shown == count else f" (the first {shown})"
    print(f"{pluralise(count, 'image')} at {settings}, seed {first}: {folder.place('grid.png')}{part}")


def _write(
    model: "ImageModel",
    folder: ResultsFolder,
    seeds: range,
    turns: "list[Given] | None",
    settings: "GenerationSettings",
    arguments: argparse.Namespace,
) -> int:
    """Write the images of the seeds and a grid; return the number of images in the grid."""
    import torch

    from glow_app.pictures.image_batch import Images
    from glow_app.pictures.images import to_pil
    from glow_app.pipeline.sampling import num_shown, sample_batches, turn_length

    count, turn = len(seeds), turn_length(model, turns)
    options = (settings.temperature, seeds[0], turns, arguments.batch_size, settings.guidance, arguments.size)
    shown: list[torch.Tensor] = []
    facts: list[dict[str, Any]] = []  # of the images that are shown
    for seed, image in tracked(sample_batches(model, count, *options), count, "drawing"):
        folder.save(to_pil(image), _name(seed, settings), image.facts[0])
        if len(shown) < num_shown(count, turn, LARGEST_GRID):
            shown.append(image.cpu())
            facts += image.facts
    together = Images(torch.stack(shown), facts)
    folder.save(together.grid(), "grid.png", together.common_facts)
    return len(shown)


def _name(seed: int, settings: "GenerationSettings") -> str:
    """Return the name of an image, such as ``seed000007_t0.70-1.00_g1.5.png``."""
    values = settings.temperature if isinstance(settings.temperature, tuple) else [settings.temperature]
    guided = "" if settings.guidance == 1 else f"_g{settings.guidance:g}"
    return f"seed{seed:06d}_t{'-'.join(f'{value:.2f}' for value in values)}{guided}.png"


def image_size(text: str) -> tuple[int, int]:
    """Parse a size such as 256x128, and return height and width, for argparse."""
    sides = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if sides is None or "0" in sides.groups():
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 256x128, got {text!r}")
    return int(sides[2]), int(sides[1])
