"""Enlarge, denoise, deblock, colour or fill pictures of any size, with a model trained for it or a wavelet flow."""

import argparse
from collections.abc import Iterator
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import picture_files
from glow_app.commands.loading import load, provenance
from glow_app.commands.parser import Parser, positive_int, require_seeds, seed_number, temperature
from glow_app.commands.results import RECORD, ResultsFolder
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked
from glow_app.storage.model_folders import DEFAULT_MODEL, bundled_restorers

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from glow_app.data.decoding import Photo
    from glow_app.models.image_model import ImageModel
    from glow_app.restoration import Restoration, RestorationTask

TASKS = {"denoise": "photos-denoise", "deblock": "photos-deblock", "upscale": "photos-upscale2"}
OTHERS = f"{', '.join(bundled_restorers(DEFAULT_MODEL))} for cartoon faces, or a model of your own"


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow restore``."""
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    task = "for photographs: remove noise or JPEG artefacts, or enlarge to 2x the width and height; otherwise, use"
    parser.add_argument("--task", choices=TASKS, help=f"{task} --checkpoint with {OTHERS}")
    parser.add_model_arguments()
    parser.set_defaults(checkpoint=None)
    parser.add_output_arguments("restored")
    draws = "write N possible originals, their mean and spread, and a labelled sheet"
    parser.add_argument("--draws", type=positive_int, help=draws, metavar="N")
    factor = "temperature (default: 0, the best guess; with --draws, the model's recommendation)"
    parser.add_argument("--temperature", type=temperature, help=factor)
    times = "enlarge the width and height by this factor, 2, 4, 8 and so on, with a wavelet flow (default: 4)"
    parser.add_argument("--factor", type=positive_int, help=times)
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw, and of --damage")
    inputs = "further input of the task, a number or a file; can be repeated"
    parser.add_argument("--input", type=_assignment, action="append", default=[], help=inputs, metavar="NAME=VALUE")
    mask = "short for --input mask=FILE, for filling: a picture that is white where pixels are missing"
    parser.add_argument("--mask", help=mask, metavar="FILE")
    damage = "damage the pictures first, at random as in training, to try a model on undamaged pictures"
    parser.add_argument("--damage", action="store_true", help=damage)


def run(arguments: argparse.Namespace) -> None:
    """Write one restored picture of each, or draws with their mean, spread and a sheet."""
    from glow_app.restoration import require_task

    if (arguments.task is None) == (arguments.checkpoint is None):
        tasks = ", ".join(TASKS)
        raise UsageError(f"glow restore needs one of --task ({tasks}) for photographs and --checkpoint: {OTHERS}")
    arguments.checkpoint = arguments.checkpoint or TASKS[arguments.task]
    if arguments.draws is None:
        arguments.temperature = arguments.temperature or 0.0
    require_seeds(arguments.seed, arguments.draws or 1)
    model, stored = load(arguments, restores=True)
    task = require_task(model, arguments.factor)
    inputs, files = _read_inputs(task, arguments)
    named = _pictures_by_name(arguments.images, files)
    kinds = ["damaged"] if arguments.damage else []
    kinds += [f"seed{arguments.seed + number}" for number in range(arguments.draws or 0)]
    kinds += ["mean", "spread", "comparison"] if arguments.draws else ["restored"]
    with ResultsFolder(arguments.output, arguments.overwrite, provenance(stored)) as folder:
        folder.protect([*named.values(), *files], [f"{name}_{kind}.png" for name in named for kind in kinds])
        num_restored = _restore_all(model, task, named, inputs, folder, arguments)
    if len(named) > 1:
        print(printable(f"{num_restored:,} of {pluralise(len(named), 'picture')} restored, in {folder.path}"))


def _restore_all(
    model: "ImageModel",
    task: "RestorationTask",
    named: dict[str, str],
    inputs: dict[str, Any],
    folder: ResultsFolder,
    arguments: argparse.Namespace,
) -> int:
    """Write the results of all pictures, print a line for each, and return how many were restored."""
    from glow_app.pictures.images import with_profile
    from glow_app.restoration import restore_damaged

    num_restored, num_channels = 0, model.flow.image_shape[0]
    options = (arguments.draws or 1, arguments.temperature, arguments.seed)
    track = partial(tracked, doing="restoring") if len(named) == 1 else None
    for number, (name, file) in enumerate(tracked(named.items(), len(named), "restoring")):
        try:
            photo, damaged, original = _read(task, num_channels, file, inputs, number, arguments)
            restoration = restore_damaged(model, damaged, *options, task, track)
        except (ValueError, FloatingPointError) as error:  # not OSError, which would recur for the next picture
            if len(named) == 1:
                raise
            print(printable(f"skipped: {error}" if file in str(error) else f"skipped: {file}: {error}"))
            continue
        for kind, picture, facts in _pictures(task, restoration, damaged, original, arguments.draws):
            folder.save(with_profile(picture, photo.icc_profile), f"{name}_{kind}.png", facts, picture=file)
        num_restored += 1
        gain = None if original is None else _gain(task, damaged, restoration, original)
        notes = "; ".join(filter(None, [photo.note, restoration.note, gain]))
        print(printable(f"{file}: {folder.path / f'{name}_{kind}.png'}{notes and f' ({notes})'}"))
    if not num_restored:
        raise ValueError(f"none of the {len(named)} pictures could be restored")
    return num_restored


def _read(
    task: "RestorationTask",
    num_channels: int,
    file: str,
    inputs: dict[str, Any],
    number: int,
    arguments: argparse.Namespace,
) -> "tuple[Photo, Tensor, Tensor | None]":
    """Return a picture as read, as damaged, and, with ``--damage``, undamaged, cropped to whole damaged pixels."""
    import torch

    from glow_app.pictures.inputs import read_photo
    from glow_app.seeding import step_generator

    photo = read_photo(file, [num_channels if arguments.damage else task.picture_channels(num_channels)])
    pixels = torch.from_numpy(photo.pixels.copy())
    if not arguments.damage:
        return photo, task.prepare(pixels, **inputs), None
    height, width = (side // task.factor * task.factor for side in pixels.shape[1:])
    original = pixels[:, :height, :width]
    # From another stream than the draws, which would otherwise reuse the noise that they should remove.
    generator = step_generator(arguments.seed, number, "cpu", "damage")
    return photo, task.damage(original[None], generator)[0], original


def _pictures(
    task: "RestorationTask", restoration: "Restoration", damaged: "Tensor", original: "Tensor | None", draws: int | None
) -> "Iterator[tuple[str, Image, dict[str, Any]]]":
    """Yield kind, picture and facts of each picture to write; the last one is the one to look at first."""
    from glow_app.pictures.images import to_pil

    facts = restoration.draws.common_facts
    if original is not None:
        yield "damaged", to_pil(damaged[: task.picture_channels(len(original))]), {}
    if draws is None:
        yield "restored", to_pil(restoration.draws[0]), facts
        return
    for image in restoration.draws:
        yield f"seed{image.seeds[0]}", to_pil(image), image.common_facts
    if draws > 1:
        yield "mean", to_pil(restoration.mean), facts
        yield "spread", to_pil(restoration.shown_spread), facts
    yield "comparison", restoration.sheet(original, task.condition_name), facts


def _gain(task: "RestorationTask", damaged: "Tensor", restoration: "Restoration", original: "Tensor") -> str:
    """Return the PSNR before and after, in words."""
    from glow_app.restoration import psnr

    pictures, missing = (restoration.base, restoration.mean), task.missing(damaged[None])
    before, after = (float(psnr(picture[None], original[None], missing)) for picture in pictures)
    result = "mean of the draws" if len(restoration.draws) > 1 else "restored"
    return f"PSNR: {task.condition_name} {before:.2f} dB, {result} {after:.2f} dB"


def _read_inputs(task: "RestorationTask", arguments: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    """Return the further inputs of the task by name, and the files among them."""
    from glow_app.pictures.inputs import as_photo

    inputs: dict[str, Any] = {}
    files: list[str] = []
    for name, value in arguments.input + [("mask", file) for file in [arguments.mask] if file]:
        if arguments.damage or name not in task.takes:
            user = "--damage" if arguments.damage else f"a model with the task {type(task).__name__}"
            raise UsageError(f"{name} cannot be used with {user}; leave it out")
        is_picture = task.takes[name] == "picture"
        files += [value] if is_picture else []
        try:
            inputs[name] = as_photo(value, 1) if is_picture else float(value)
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from error
    return inputs, files


def _assignment(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {text!r}")
    return name, value


def _pictures_by_name(places: list[str], input_files: list[str]) -> dict[str, str]:
    """Return the picture files by the names of their results: their paths within the folder, without suffix.

    Of several with the same name, all but the first get a number. The files of further inputs are left out, and so are
    results of earlier runs in subfolders.
    """
    named: dict[str, str] = {}
    seen, num_results = {Path(file).resolve() for file in input_files}, 0
    for place in map(Path, places):
        results = {record.parent for record in place.rglob(RECORD)} - {place}
        for file in map(Path, picture_files([place])):
            if results.intersection(file.parents):
                num_results += 1
            elif file.resolve() not in seen:
                seen.add(file.resolve())
                stem = str((file.relative_to(place) if place.is_dir() else Path(file.name)).with_suffix(""))
                names = chain([stem], (f"{stem}-{number}" for number in count(2)))
                named[next(name for name in names if name not in named)] = str(file)
    if num_results:
        print(f"skipped {pluralise(num_results, 'result')} of earlier runs; name their folder to restore them")
    return named
