"""Draw images; image i depends on the seed plus i alone."""

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.common import load, made_by
from glow_app.commands.parser import Parser, guidance, positive_int, require_seeds, seed_number, temperatures
from glow_app.commands.sample_folder import SampleFolder
from glow_app.files import require_folder
from glow_app.messages import UsageError, pluralise
from glow_app.progress import tracked

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

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
    factor = "factor on the base noise, or one per level: 0.7,0.9,1.0 (default: the model's recommendation)"
    parser.add_argument("--temperature", type=temperatures, help=factor)
    beyond = "strength of the class: 1 is the model's own, more is clearer (default: the model's recommendation)"
    parser.add_argument("--guidance", type=guidance, help=beyond)
    count = f"number of images (default: {USUAL_COUNT}, or the next multiple of the number of classes)"
    parser.add_argument("--count", type=positive_int, help=count)
    first = "seed of the first image; image i uses seed + i (default: random, and printed)"
    parser.add_argument("--seed", type=seed_number, help=first)
    turns = "class, or of several to cycle through, by the seed modulo their number (default: all)"
    parser.add_label_argument(turns, several=True)
    other = "size of the images in pixels, the width first, for textures (default: the model's); needs a Gaussian prior"
    parser.add_argument("--size", type=image_size, help=other, metavar="WIDTHxHEIGHT")
    parser.add_batch_size_argument()
    sweep = "also write a grid of the same noise at these temperatures"
    parser.add_argument("--sweep", type=temperatures, help=sweep, metavar="T,T,...")


@dataclass
class _Drawing:
    """The state of a run: what to draw, where to write it, and what has been written."""

    model: "ImageModel"
    settings: "GenerationSettings"
    folder: SampleFolder
    label: int | list[int] | None
    turn: int  # images after which the classes of a grid repeat
    facts: dict[str, Any]  # in the text of all pictures
    num_drawn: int = 0
    pictures: list[str] = field(default_factory=list)  # names of the other pictures written so far

    def class_of(self, seed: int) -> dict[str, Any]:
        """Return the facts about the class of a seed."""
        from glow_app.models.class_labels import class_facts, class_turns

        turns = class_turns(self.model, self.label)
        return {} if turns is None else class_facts(self.model, turns[seed % len(turns)])

    def save(self, picture: "Image.Image", name: str, count: int, **text: Any) -> None:
        """Write a picture of several images, with their classes and facts in its text chunks."""
        from glow_app.models.class_labels import class_facts
        from glow_app.pictures.images import save_png

        label = [self.label] if isinstance(self.label, int) else self.label or []
        head = {"seed": self.folder.seeds.start, "count": count}
        save_png(picture, self.folder.path / name, head | self.facts | class_facts(self.model, *label) | text)
        self.pictures.append(name)


def run(arguments: argparse.Namespace) -> None:
    """Write the images, a grid and the record of the run."""
    require_folder(Path(arguments.output))
    model = load(arguments)
    if arguments.size is not None:
        if arguments.sweep:
            raise UsageError("--sweep draws images of the model's own size; leave --size out")
        model.flow.latent_shapes_at(*arguments.size)  # refuses invalid sizes before anything is written
    settings = model.generation.override(arguments.temperature, arguments.guidance)
    settings.check(len(model.flow.latent_shapes), model.flow.num_classes is not None)
    label = arguments.label[0] if len(arguments.label or []) == 1 else arguments.label
    turn = turn_length(model, label)
    count = arguments.count or turn * math.ceil(USUAL_COUNT / turn)
    seeds = _seeds(arguments, count)
    more = [] if arguments.sweep is None else ["sweep.png"]
    folder = SampleFolder(Path(arguments.output), seeds, _ending(settings), ["grid.png", *more]).free(
        arguments.overwrite
    )
    if folder.path != Path(arguments.output):
        print(f"{arguments.output} holds samples already; these go to {folder.path} (--overwrite replaces)")

    facts = {**settings.facts, **made_by(arguments)}
    drawing = _Drawing(model, settings, folder, label, turn, facts)
    record = {"seed": seeds.start, "count": count, **facts} | ({} if label is None else {"label": label})
    record |= {"checkpoint": str(arguments.checkpoint)} | ({} if settings.guidance == 1 else {"note": GUIDED})
    try:
        shown = _draw(drawing, arguments)
        if arguments.sweep is not None:
            _write_sweep(drawing, arguments.sweep)
    except BaseException:
        if drawing.num_drawn:
            partial = record | {"count": drawing.num_drawn, "asked": count}
            with suppress(OSError):  # the original error is more informative
                folder.interrupted(drawing.num_drawn, drawing.pictures).finish(partial, drawing.class_of)
        raise
    folder.finish(record, drawing.class_of)
    part = "" if shown == count else f" (the first {shown})"
    at = f"at {settings}, seed {seeds.start}"
    print(f"{pluralise(count, 'image')} {at}: {folder.path / 'grid.png'}{part}")
    for name in more:
        print(f"{name.partition('.')[0]}: {folder.path / name}")


def _seeds(arguments: argparse.Namespace, count: int) -> range:
    """Return ``count`` seeds, starting at ``--seed`` or at a random seed low enough for all images."""
    from glow_app.seeding import random_seed

    require_seeds(arguments.seed or 0, count)
    first = random_seed(count) if arguments.seed is None else arguments.seed
    return range(first, first + count)


def turn_length(model: "ImageModel", label: int | list[int] | None = None) -> int:
    """Return the number of images after which the classes of a grid repeat; 1 if the grid has no column per class."""
    from glow_app.models.class_labels import class_turns
    from glow_app.pictures.image_batch import LARGEST_TURN

    turns = class_turns(model, label) or []
    return len(turns) if 1 < len(turns) <= LARGEST_TURN else 1


def num_shown(count: int, turn: int = 1) -> int:
    """Return the number of images in a grid: all, or at most 100 in complete cycles of ``turn``."""
    return count if count <= LARGEST_GRID else LARGEST_GRID - LARGEST_GRID % turn


def _draw(drawing: _Drawing, arguments: argparse.Namespace) -> int:
    """Write each image as it is drawn, and a grid; return the number of images in the grid, all that memory holds."""
    import torch

    from glow_app.pictures.image_batch import Images
    from glow_app.pictures.images import save_png, to_pil

    folder = drawing.folder
    most = num_shown(len(folder.seeds), drawing.turn)
    shown: list[torch.Tensor] = []
    for seed, image in tracked(_batches(drawing, arguments), len(folder.seeds), "drawing"):
        text = {"seed": seed, **drawing.facts, **drawing.class_of(seed)}
        folder.path.mkdir(parents=True, exist_ok=True)
        save_png(to_pil(image), folder.path / folder.name(seed), text)
        drawing.num_drawn += 1
        if len(shown) < most:
            shown.append(image.cpu())
    picture = Images(torch.stack(shown), [drawing.class_of(seed) for seed in folder.seeds[: len(shown)]]).grid()
    drawing.save(picture, "grid.png", len(shown))
    return len(shown)


def _batches(drawing: _Drawing, arguments: argparse.Namespace) -> "Iterator[tuple[int, Tensor]]":
    from glow_app.generation import sample_batches

    settings, seeds = drawing.settings, drawing.folder.seeds
    options = (drawing.label, arguments.batch_size, settings.guidance, arguments.size)
    return sample_batches(drawing.model, len(seeds), settings.temperature, seeds.start, *options)


def _write_sweep(drawing: _Drawing, temperatures: float | list[float]) -> None:
    from glow_app.generation import sweep
    from glow_app.pictures.image_batch import class_captions
    from glow_app.pictures.images import grid

    model, label = drawing.model, drawing.label
    values = [temperatures] if isinstance(temperatures, float) else temperatures
    seeds = drawing.folder.seeds[:LARGEST_SWEEP]
    if len(seeds) > drawing.turn:
        seeds = seeds[: len(seeds) - len(seeds) % drawing.turn]
    images = sweep(model, values, seeds, label, drawing.settings.guidance).flatten(0, 1)
    names = [] if isinstance(label, int) else class_captions([drawing.class_of(seed) for seed in seeds])
    picture = grid(images, len(seeds), above=names, left=[f"T = {value:g}" for value in values])
    drawing.save(picture, "sweep.png", len(seeds), temperature=_text(values, "g", ", "))


def _ending(settings: "GenerationSettings") -> str:
    guided = "" if settings.guidance == 1 else f"_g{settings.guidance:g}"
    return f"_t{_text(settings.temperature)}{guided}.png"


def _text(values: float | Sequence[float], form: str = ".2f", between: str = "-") -> str:
    return between.join(format(value, form) for value in ([values] if isinstance(values, (int, float)) else values))


def image_size(text: str) -> tuple[int, int]:
    """Parse a size such as 256x128, and return height and width, for argparse."""
    sides = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text)
    if sides is None or "0" in sides.groups():
        raise argparse.ArgumentTypeError(f"{text} is not a size; expected WIDTHxHEIGHT in pixels, such as 256x128")
    return int(sides[2]), int(sides[1])
