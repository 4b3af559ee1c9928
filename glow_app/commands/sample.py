"""Draw images; image i depends on the seed plus i alone."""

import argparse
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from glow_app.commands.loading import load, provenance, read_given
from glow_app.commands.parser import Parser, guidance, positive_int, require_seeds, seed_number, temperatures
from glow_app.commands.results import ResultsFolder
from glow_app.messages import UsageError, pluralise
from glow_app.progress import tracked

if TYPE_CHECKING:
    from PIL import Image

    from glow_app.models.generation_settings import GenerationSettings
    from glow_app.models.image_model import ImageModel

USUAL_COUNT = 16
LARGEST_GRID = 100  # maximum number of images in a grid
LARGEST_SWEEP = 12  # images per row
GUIDED = "guidance is not 1: these are not samples of the model's own distribution"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow sample``."""
    parser.add_model_arguments()
    parser.add_output_arguments("samples")
    factor = "factor of the base noise, or one per level: 0.7,0.9,1.0 (default: the model's recommendation)"
    parser.add_argument("--temperature", type=temperatures, help=factor)
    beyond = "strength of the class: 1 is the model's own, more exaggerates it (default: the model's recommendation)"
    parser.add_argument("--guidance", type=guidance, help=beyond)
    count = f"number of images (default: {USUAL_COUNT}, or the next multiple of the number of classes)"
    parser.add_argument("--count", type=positive_int, help=count)
    first = "seed of the first image; image i uses seed + i (default: random, and printed)"
    parser.add_argument("--seed", type=seed_number, help=first)
    turns = "class, or of several that take turns: seed s draws number s modulo their count (default: all)"
    parser.add_label_argument(turns, several=True)
    other = "size of the images in pixels, for textures (default: the model's); needs a Gaussian prior"
    parser.add_argument("--size", type=image_size, help=other, metavar="WIDTHxHEIGHT")
    parser.add_batch_size_argument()
    sweep = "also write a grid of the same noise at these temperatures"
    parser.add_argument("--sweep", type=temperatures, help=sweep, metavar="T,T,...")


def run(arguments: argparse.Namespace) -> None:
    """Write the images, a grid and the record of the run."""
    import torch

    from glow_app.generation import sample_batches
    from glow_app.pictures.image_batch import Images
    from glow_app.pictures.images import to_pil
    from glow_app.seeding import random_seed

    if arguments.size and arguments.sweep:
        raise UsageError("--sweep draws images of the model's own size; leave out --size")
    model, stored = load(arguments)
    given = read_given(model, arguments)
    if arguments.size:
        model.flow.latent_shapes_at(*arguments.size)  # refuses invalid sizes before anything is written
    settings = model.generation.override(arguments.temperature, arguments.guidance)
    settings.check(len(model.flow.latent_shapes), model.flow.num_classes is not None)
    turn = turn_length(model, given)
    count = arguments.count or turn * math.ceil(USUAL_COUNT / turn)
    require_seeds(arguments.seed or 0, count)
    first = random_seed(count) if arguments.seed is None else arguments.seed
    record = {"seed": first, "count": count, "checkpoint": str(arguments.checkpoint)}
    record |= ({} if given is None else {"label": given}) | ({} if settings.guidance == 1 else {"note": GUIDED})
    options = (settings.temperature, first, given, arguments.batch_size, settings.guidance, arguments.size)
    images = tracked(sample_batches(model, count, *options), count, "drawing")
    shown: list[torch.Tensor] = []
    facts: list[dict[str, Any]] = []  # of the images that are shown
    common = settings.to_plain() | provenance(stored)
    with ResultsFolder(arguments.output, arguments.overwrite, common, record) as folder:
        for seed, image in images:
            folder.save(to_pil(image), f"seed{seed:06d}{_ending(settings)}", image.facts[0])
            if len(shown) < num_shown(count, turn):
                shown.append(image.cpu())
                facts += image.facts
        together = Images(torch.stack(shown), facts)
        folder.save(together.grid(), "grid.png", together.common_facts)
        if arguments.sweep is not None:
            facts = facts[: num_shown(len(facts), turn, LARGEST_SWEEP)]
            sweep = _sweep(model, facts, settings.guidance, arguments.sweep)
            folder.save(sweep, "sweep.png", {"seed": first, "count": len(facts), "temperature": arguments.sweep})
    part = "" if len(shown) == count else f" (the first {len(shown)})"
    print(f"{pluralise(count, 'image')} at {settings}, seed {first}: {folder.path / 'grid.png'}{part}")
    if arguments.sweep is not None:
        print(f"sweep: {folder.path / 'sweep.png'}")


def turn_length(model: "ImageModel", given: int | Sequence[int] | None = None) -> int:
    """Return the number of images after which the classes of a grid repeat; 1 if the grid has no column per class."""
    from glow_app.models.class_labels import class_turns
    from glow_app.pictures.image_batch import MAX_CLASS_COLUMNS

    turns = class_turns(model, given) or []
    return len(turns) if 1 < len(turns) <= MAX_CLASS_COLUMNS else 1


def num_shown(count: int, turn: int, most: int = LARGEST_GRID) -> int:
    """Return the number of images in a grid of at most ``most``: complete cycles of ``turn`` if some are left out."""
    return count if count <= most else most - most % turn


def _sweep(
    model: "ImageModel", facts: Sequence[dict[str, Any]], guidance: float, temperatures: float | list[float]
) -> "Image.Image":
    """Return a grid of images of these facts, with a row for each temperature."""
    import torch

    from glow_app.pictures.image_batch import class_captions
    from glow_app.pictures.images import grid

    values = [temperatures] if isinstance(temperatures, float) else temperatures
    seeds = [fact["seed"] for fact in facts]
    labels = None if model.flow.num_classes is None else [fact["label"] for fact in facts]
    images = torch.cat([model.sample(len(seeds), value, seeds, labels, guidance) for value in values])
    names = class_captions(facts)
    above = names if len(set(names)) > 1 else []
    return grid(images, len(facts), above=above, left=[f"T = {value:g}" for value in values])


def _ending(settings: "GenerationSettings") -> str:
    """Return the end of the names of images, such as ``_t0.70-1.00_g1.5.png``."""
    values = settings.temperature if isinstance(settings.temperature, tuple) else [settings.temperature]
    guided = "" if settings.guidance == 1 else f"_g{settings.guidance:g}"
    return f"_t{'-'.join(f'{value:.2f}' for value in values)}{guided}.png"


def image_size(text: str) -> tuple[int, int]:
    """Parse a size such as 256x128, and return height and width, for argparse."""
    sides = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if sides is None or "0" in sides.groups():
        raise argparse.ArgumentTypeError(f"must be WIDTHxHEIGHT in pixels, such as 256x128, got {text!r}")
    return int(sides[2]), int(sides[1])
