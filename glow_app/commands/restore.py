"""Clean and enlarge photographs of any size; or restore pictures by a model trained for it or a wavelet flow.

Without --checkpoint, photographs are cleaned of noise and JPEG artefacts and then, with --enlarge, enlarged. With it,
one model does what it was trained for: glow models lists the bundled ones.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import picture_files
from glow_app.commands.loading import load_stored, provenance
from glow_app.commands.parser import Parser, StoreOnce, number_type, positive_int, require_seeds, seed_number
from glow_app.commands.results import RECORD, ResultsFolder, one_picture, refuse_existing, refuse_replacing
from glow_app.files import FORMAT_OF
from glow_app.messages import UsageError, pluralise, printable, report_failure
from glow_app.progress import tracked
from glow_app.storage.model_folders import CLEANER, ENLARGER

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from glow_app.models.image_model import ImageModel
    from glow_app.pictures.picture_file import PictureFile
    from glow_app.restoration import Restoration, RestorationTask

    Step = tuple[ImageModel, RestorationTask]

UNRESTORED = ("damaged", "spread", "comparison")  # kinds of results that are not restored pictures


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow restore``."""
    parser.register("action", None, StoreOnce)  # two models might seem to follow each other
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    times = "enlarge the width and height by 2 or 4, after cleaning; by a wavelet flow, 2, 4, 8 and so on (default: 4)"
    parser.add_argument("--enlarge", type=positive_int, help=times, metavar="N")
    parser.add_argument("--no-clean", action="store_true", help="only enlarge photographs")
    parser.add_model_arguments()
    parser.set_defaults(checkpoint=None)
    parser.add_output_arguments("NAME.png")
    draws = "write N possible originals, their mean and spread, and a labelled sheet"
    parser.add_argument("--count", type=positive_int, help=draws, metavar="N")
    parser.add_temperature_argument("0, the best guess; with --count, the model's recommendation")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw, and of --damage")
    force = "correct all of each picture, also where it seems to be clean"
    parser.add_argument("--force", action="store_true", help=force)
    inputs = "further input of the task, a number or a file; can be repeated"
    parser.add_argument("--input", type=_assignment, action="append", default=[], help=inputs, metavar="NAME=VALUE")
    mask = "short for --input mask=FILE, for filling: a picture that is white where pixels are missing"
    parser.add_argument("--mask", help=mask, metavar="FILE")
    damage = "damage the pictures first, at random as in training, to try a model on undamaged pictures"
    parser.add_argument("--damage", action="store_true", help=damage)
    format = "format of the results (default: that of --output or each picture, if it is one of these; otherwise png)"
    parser.add_argument("--format", choices=["jpeg", "png", "tiff", "webp"], help=format)
    strip = "leave out metadata, such as place and author; colours are converted to sRGB"
    parser.add_argument("--strip", action="store_true", help=strip)
    frame = "frame of animations, or page of TIFF files with several, from 0"
    parser.add_argument("--frame", type=number_type(int, 0), help=frame, metavar="N")
    skip = "end with exit code 0 even if pictures could not be restored; they are still listed at the end"
    parser.add_argument("--skip", action="store_true", help=skip)


def run(arguments: argparse.Namespace) -> None:
    """Write one restored picture of each, or draws with their mean, spread and a sheet."""
    from glow_app.restoration import require_task
    from glow_app.storage.stored_model import StoredModel

    places = _places(arguments)
    if arguments.count is None:
        arguments.temperature = arguments.temperature or 0.0
    require_seeds(arguments.seed, arguments.count or 1)
    if not (arguments.skip or any(Path(place).exists() for place in arguments.images)):  # before a folder is announced
        raise FileNotFoundError(f"there is no file {arguments.images[0]}")
    stored = {place: StoredModel(place) for place in places}
    models = {place: load_stored(each, arguments.device, restores=True) for place, each in stored.items()}
    factor = arguments.enlarge if arguments.checkpoint else None
    steps = [(models[place], require_task(models[place], factor)) for place in places]
    inputs, files = _read_inputs(steps[0][1], arguments)
    pictures = _names_of_pictures(arguments.images, files)
    kinds = ["damaged"] if arguments.damage else []
    kinds += [f"seed{arguments.seed + number}" for number in range(arguments.count or 0)]
    kinds += ["mean", "spread", "comparison"] if arguments.count else ["restored"]
    if file := one_picture(arguments.output, len(pictures)):
        arguments.format = FORMAT_OF[file.suffix.lower()]
    results = _names_of_results(pictures, kinds, arguments.format)
    names = [name for of_picture in results.values() for name in of_picture.values()]
    origin, main = provenance(*stored.values()), names[-1] if names else ""
    with ResultsFolder(arguments.output, arguments.overwrite, origin, main=main) as folder:
        outputs = [folder.place(name) for name in names]
        refuse_replacing([*pictures, *files], outputs)
        refuse_existing(outputs, arguments.overwrite)
        failures = _restore_all(steps, results, inputs, folder, arguments)
    if len(pictures) > max(1, len(failures)):
        restored = f"{len(pictures) - len(failures):,} of {pluralise(len(pictures), 'picture')} restored"
        print(printable(f"{restored}, in {folder.path}"))
    for failure in failures:
        if arguments.skip:
            print(printable(f"skipped: {failure}"))
        else:
            report_failure(f"failed: {failure}")


def _places(arguments: argparse.Namespace) -> list[str]:
    """Return the places of the models that are used one after another.

    Raises:
        UsageError: If options exclude each other, or nothing is to be done.
    """
    enlarge, is_cleaned, file = arguments.enlarge, not arguments.no_clean, one_picture(arguments.output)
    if file and arguments.format not in (None, FORMAT_OF[file.suffix.lower()]):
        raise UsageError(f"--output {file} is no {arguments.format} file; leave out --format, or name another file")
    if arguments.checkpoint:
        if not is_cleaned:
            raise UsageError("use either --no-clean, which is for photographs, or --checkpoint, not both")
        if enlarge and arguments.checkpoint in (CLEANER, ENLARGER):
            raise UsageError(
                f"--checkpoint {arguments.checkpoint} is a single model; to enlarge photographs, leave it out: "
                f"--enlarge {enlarge} cleans and enlarges, --enlarge {enlarge} --no-clean only enlarges"
            )
        return [arguments.checkpoint]
    if enlarge not in (None, 2, 4):
        raise UsageError(f"--enlarge must be 2 or 4 for photographs, got {enlarge}; --checkpoint takes other models")
    if not (enlarge or is_cleaned):
        raise UsageError("--no-clean leaves nothing to do; add --enlarge 2 or --enlarge 4")
    if arguments.force and not is_cleaned:
        raise UsageError("use either --force, which is for cleaning, or --no-clean, not both")
    places = [CLEANER] * is_cleaned + [ENLARGER] * ((enlarge or 1) // 2)
    if arguments.damage and len(places) > 1:
        raise UsageError("--damage is for one model; choose it by --checkpoint")
    return places


def _restore_all(
    steps: "list[Step]",
    results: dict[str, dict[str, str]],
    inputs: dict[str, Any],
    folder: ResultsFolder,
    arguments: argparse.Namespace,
) -> list[str]:
    """Write the results of all pictures, print a line for each, and return a line for each that failed."""
    from glow_app.pictures.encoding import with_profile
    from glow_app.restoration import note_on_results, restore_successively

    failures, task = [], steps[-1][1]
    for number, (file, names) in enumerate(tracked(results.items(), len(results), "restoring")):
        try:
            picture_file, damaged, original = _read(steps, file, inputs, number, arguments)
            restoration = restore_successively(
                steps, damaged, arguments.count or 1, arguments.temperature, arguments.seed, arguments.force
            )
            profile = picture_file.photo.icc_profile
            for kind, picture, facts in _pictures(task, restoration, damaged, original, arguments.count):
                write = picture_file.save if kind not in UNRESTORED else None
                folder.save(with_profile(picture, profile), names[kind], facts, write, picture=file)
        except (ValueError, FloatingPointError) as error:  # not OSError, which would recur for the next picture
            if len(results) == 1 and not arguments.skip:
                raise
            failures.append(str(error) if file in str(error) else f"{file}: {error}")
            continue
        gain = None if original is None else _gain(task, damaged, restoration, original)
        note = "; ".join(filter(None, [note_on_results(restoration, picture_file), gain]))
        print(printable(f"{file}: {folder.place(names[kind])}{note and f' ({note})'}"))
    return failures


def _read(
    steps: "list[Step]", file: str, inputs: dict[str, Any], number: int, arguments: argparse.Namespace
) -> "tuple[PictureFile, Tensor, Tensor | None]":
    """Return a picture as read, as damaged, and, with ``--damage``, undamaged, cropped to whole damaged pixels."""
    import torch

    from glow_app.pictures.inputs import read_picture_file
    from glow_app.pictures.picture_file import result_suffix
    from glow_app.seeding import step_generator

    (model, task), factor = steps[0], math.prod(task.factor for _, task in steps)
    num_channels = model.flow.image_shape[0]
    num_given = task.picture_channels(num_channels)
    channels = num_channels if arguments.damage else num_given
    of_damage = {"keeps_alpha": False} if arguments.damage else {"factor": factor}  # which crops and reduces pictures
    suffix, kept = result_suffix(Path(file), arguments.format), {"frame": arguments.frame, "strips": arguments.strip}
    picture_file = read_picture_file(file, channels, suffix, **kept, **of_damage)
    if num_given < num_channels:  # the task adds colours
        picture_file = replace(picture_file, is_grey=False)
    pixels = torch.from_numpy(picture_file.photo.pixels.copy()).expand(channels, -1, -1)
    if not arguments.damage:
        return picture_file, task.prepare(pixels, **inputs), None
    height, width = (side // task.factor * task.factor for side in pixels.shape[1:])
    original = pixels[:, :height, :width]
    # From another stream than the draws, which would otherwise reuse the noise that they should remove.
    generator = step_generator(arguments.seed, number, "cpu", "damage")
    return picture_file, task.damage(original[None], generator)[0], original


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


def _names_of_pictures(places: list[str], input_files: list[str]) -> dict[str, str]:
    """Return the picture files, and the name of each in those of its results: its path in the folder, without suffix.

    Pictures that were restored before keep their names. The files of further inputs are left out, and so are results of
    earlier runs in subfolders.
    """
    names: dict[str, str] = {}
    seen, num_results = {Path(file).resolve() for file in input_files}, 0
    for place in map(Path, places):
        results = {record.parent for record in place.rglob(RECORD)} - {place}
        for file in map(Path, picture_files([place])):
            if results.intersection(file.parents):
                num_results += 1
            elif file.resolve() not in seen:
                seen.add(file.resolve())
                path = (file.relative_to(place) if place.is_dir() else Path(file.name)).with_suffix("")
                names[str(file)] = str(path).removesuffix("_restored")
    if num_results:
        print(f"skipped {pluralise(num_results, 'result')} of earlier runs; name their folder to restore them")
    return names


def _names_of_results(pictures: dict[str, str], kinds: list[str], chosen: str | None) -> dict[str, dict[str, str]]:
    """Return the file names of the results of each picture by kind: PNGs unless they are restored pictures.

    Where one is taken by the results of another picture, all of this picture get a number.
    """
    from glow_app.pictures.picture_file import result_suffix

    results: dict[str, dict[str, str]] = {}
    taken: set[str] = set()
    for file, picture in pictures.items():
        suffix = result_suffix(Path(file), chosen)
        for name in chain([picture], (f"{picture}-{number}" for number in count(2))):
            results[file] = {kind: f"{name}_{kind}{'.png' if kind in UNRESTORED else suffix}" for kind in kinds}
            if taken.isdisjoint(results[file].values()):
                break
        taken.update(results[file].values())
    return results
