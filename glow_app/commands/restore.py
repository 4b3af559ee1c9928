"""Enlarge, denoise, deblock, colour or fill pictures of any size, with a model trained for it."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import picture_files, print_changes
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import Parser, number_type, require_seeds, seed_number, temperature
from glow_app.commands.results import RECORD, ResultsFolder, listed_results
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked
from glow_app.storage.model_folders import DEFAULT_MODEL, bundled_restorers

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.data.decoding import Photo
    from glow_app.models.image_model import ImageModel
    from glow_app.restoration import Restoration, RestorationTask

LARGEST_COUNT = 10_000  # draws; each has a file that is checked before the picture is read
_SHORT = ("mask", "sigma")  # inputs of the bundled tasks, which are also options


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow restore``."""
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.set_defaults(checkpoint=None)  # no bundled model restores all kinds of pictures
    parser.add_output_arguments("restored")
    count = number_type(int, 1, LARGEST_COUNT)
    parser.add_argument("--count", type=count, default=4, help=f"draws per picture: 1 to {LARGEST_COUNT:,}")
    parser.add_argument("--temperature", type=temperature, help="temperature (default: the model's recommendation)")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw")
    inputs = "further input of the task, a number or a file; can be repeated"
    parser.add_argument("--input", type=_assignment, action="append", default=[], help=inputs, metavar="NAME=VALUE")
    mask = "short for --input mask=FILE, for filling: a picture that is white where pixels are missing"
    parser.add_argument("--mask", help=mask, metavar="FILE")
    sigma = "short for --input sigma=N, for denoising: deviation of the noise, grey levels (default: estimated)"
    parser.add_argument("--sigma", type=number_type(float, 1, 255), help=sigma, metavar="N")
    damage = "damage the pictures first, at random as in training, to try a model on undamaged pictures"
    parser.add_argument("--damage", action="store_true", help=damage)


def run(arguments: argparse.Namespace) -> None:
    """Write draws, the mean and spread of several, and a comparison for each picture."""
    from glow_app.restoration import require_task

    if arguments.checkpoint is None:
        photos, faces = (", ".join(bundled_restorers(kind)) for kind in ("photos", DEFAULT_MODEL))
        raise UsageError(
            f"glow restore needs --checkpoint: for photographs {photos}, for pictures like those of the model "
            f"{DEFAULT_MODEL} {faces}, or a model trained with, for example, --config restore/upscale2"
        )
    require_seeds(arguments.seed, arguments.count)
    if not any(Path(place).exists() for place in arguments.images):
        raise FileNotFoundError(f"there is no file {arguments.images[0]}")
    model, stored = load(arguments, restores=True)
    inputs, files = _read_inputs(require_task(model), arguments)
    named = _pictures_by_name(arguments.images, files)
    kinds = [f"seed{arguments.seed + number}" for number in range(arguments.count)] + ["comparison"]
    kinds += ["mean", "spread"] if arguments.count > 1 else []
    with ResultsFolder(arguments.output, arguments.overwrite, provenance(stored)) as folder:
        folder.protect([*named.values(), *files], [f"{name}_{kind}.png" for name in named for kind in kinds])
        restored = _restore_all(model, named, inputs, folder, arguments)
    noun = f"{pluralise(len(restored), 'picture')}, {pluralise(arguments.count, 'draw')} each"
    example = folder.path / f"{restored[0]}_comparison.png"
    shown = f"side by side (input, draws{', mean, spread' if arguments.count > 1 else ''}): {example}"
    print(printable(f"{noun}, in {folder.path}; {shown}"))


def _restore_all(
    model: "ImageModel",
    named: dict[str, str],
    inputs: dict[str, Any],
    folder: ResultsFolder,
    arguments: argparse.Namespace,
) -> list[str]:
    """Write the results of all pictures, print what was changed or skipped, and return the names of those restored."""
    from glow_app.pictures.images import to_pil, with_profile
    from glow_app.restoration import require_task, restore_damaged

    restored, changes = [], []
    doing = "restoring" if len(named) == 1 else None
    for number, (name, file) in enumerate(tracked(named.items(), len(named), "restoring")):
        try:
            photo, damaged, original = _read(model, file, inputs, number, arguments)
            draws = restore_damaged(model, damaged, arguments.count, arguments.temperature, arguments.seed, doing)
        except (ValueError, FloatingPointError) as error:  # not OSError, which would recur for the next picture
            if len(named) == 1:
                raise
            print(printable(f"skipped: {error}" if file in str(error) else f"skipped: {file}: {error}"))
            continue
        for kind, picture, facts in _pictures(draws, original):
            folder.save(with_profile(to_pil(picture), photo.icc_profile), f"{name}_{kind}.png", facts, picture=file)
        restored.append(name)
        task = require_task(model)
        level = ", ".join(f"{name} {value}" for name, value in task.facts(damaged).items())
        if note := ", ".join(filter(None, [photo.note, draws.note or level])):
            changes.append((file, note))
    if not restored:
        raise ValueError(f"none of the {len(named)} pictures could be restored")
    print_changes(changes)
    return restored


def _read(
    model: "ImageModel", file: str, inputs: dict[str, Any], number: int, arguments: argparse.Namespace
) -> "tuple[Photo, Tensor, Tensor | None]":
    """Return a picture as read, as damaged, and, with ``--damage``, undamaged, cropped to whole damaged pixels."""
    import torch

    from glow_app.pictures.inputs import read_photo
    from glow_app.restoration import require_task
    from glow_app.seeding import step_generator

    task, num_channels = require_task(model), model.flow.image_shape[0]
    photo = read_photo(file, num_channels if arguments.damage else task.picture_channels(num_channels))
    pixels = torch.from_numpy(photo.pixels.copy())
    if not arguments.damage:
        return photo, task.prepare(pixels, **inputs), None
    height, width = (side // task.factor * task.factor for side in pixels.shape[1:])
    original = pixels[:, :height, :width]
    if not original.numel():
        raise ValueError(f"{file} is too small to be reduced by a factor of {task.factor}")
    # From another stream than the draws, which would otherwise reuse the noise that they should remove.
    generator = step_generator(arguments.seed, number, "cpu", "damage")
    return photo, task.damage(original[None], generator)[0], original


def _read_inputs(task: "RestorationTask", arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return the further inputs of the task by name, and the files among them."""
    from glow_app.pictures.inputs import as_photo

    short = {name: getattr(arguments, name) for name in _SHORT if getattr(arguments, name) is not None}
    inputs: dict[str, Any] = short | dict(arguments.input)
    for name in inputs:
        if arguments.damage or name not in task.takes:
            user = "--damage" if arguments.damage else f"a model with the task {type(task).__name__}"
            raise UsageError(f"{name} cannot be used with {user}; leave it out")
    files = [value for name, value in inputs.items() if task.takes[name] == "picture"]
    for name, value in inputs.items():
        inputs[name] = as_photo(value, 1) if task.takes[name] == "picture" else _number(name, value)
    return inputs, files


def _number(name: str, value: str | float) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise UsageError(f"{name} must be a number, got {value!r}") from error


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def _pictures_by_name(places: list[str], input_files: list[str]) -> dict[str, str]:
    """Return the picture files by the names of their results: their paths within the folder, without suffix.

    The suffix is kept where files differ in nothing else. The files of further inputs are left out.
    """
    paths: dict[str, Path] = {}
    for place in places:
        for file in _files(place, input_files):
            paths[file] = Path(file).relative_to(place) if Path(place).is_dir() else Path(Path(file).name)
    occurrences = Counter(path.with_suffix("") for path in paths.values())
    named: dict[str, str] = {}
    for file, path in paths.items():
        name = str(path if occurrences[path.with_suffix("")] > 1 else path.with_suffix(""))
        if name in named:
            raise UsageError(f"{named[name]} and {file} have the same name; restore them into different folders")
        named[name] = file
    return named


def _files(place: str, input_files: list[str]) -> list[str]:
    """Return a picture file, or those of a folder: without inputs and, if other files remain, results."""
    folder = Path(place)
    if not folder.is_dir():
        return [str(folder)]
    others = {Path(file).resolve() for file in input_files}
    files = [file for file in picture_files([place]) if Path(file).resolve() not in others]
    listed = listed_results(folder)
    subfolders = {record.parent for record in folder.rglob(RECORD)} - {folder}
    inputs = [file for file in files if Path(file) not in listed and not subfolders.intersection(Path(file).parents)]
    if inputs and len(inputs) < len(files):
        results = pluralise(len(files) - len(inputs), "result")
        print(printable(f"skipped {results} of earlier runs in {place}; name the files to restore them"))
    return inputs or files


def _pictures(restoration: "Restoration", original: "Tensor | None") -> "Iterator[tuple[str, Tensor, dict[str, Any]]]":
    """Yield name, picture and facts of each picture to write."""
    for image in restoration.draws:
        yield f"seed{image.seeds[0]}", image, image.common_facts
    facts = restoration.draws.common_facts
    if len(restoration.draws) > 1:
        yield "mean", restoration.mean, facts
        yield "spread", restoration.shown_spread, facts
    yield "comparison", restoration.side_by_side(original), facts
