"""Enlarge, denoise, deblock, colour or fill pictures of any size, with a model trained for it."""

import argparse
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.input_pictures import picture_files, print_changes
from glow_app.commands.loading import load, provenance, read_given
from glow_app.commands.parser import Parser, number_type, require_seeds, seed_number, temperature
from glow_app.commands.results import RECORD, ResultsFolder, listed_results
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked
from glow_app.storage.model_folders import DEFAULT_MODEL, bundled_restorers

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.data.decoding import Photo
    from glow_app.models.image_model import ImageModel
    from glow_app.restoration import Restoration
    from glow_app.tasks import RestorationTask

LARGEST_COUNT = 10_000  # draws; each has a file that is checked before the picture is read
LARGEST_COMPARED, DRAWS_COMPARED = 1 << 22, 4  # maximum pixels of each part of the comparison, and draws in it


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow restore``."""
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.set_defaults(checkpoint=None)  # no bundled model restores all kinds of pictures
    parser.add_output_arguments("restored")
    parser.add_argument(
        "--count", type=number_type(int, 1, LARGEST_COUNT), default=4, help=f"draws per picture: 1 to {LARGEST_COUNT:,}"
    )
    parser.add_argument("--temperature", type=temperature, help="temperature (default: the model's recommendation)")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw")
    parser.add_argument("--mask", help="fill: picture that is white where pixels are missing")
    sigma = "denoise: standard deviation of the noise, grey levels (default: estimated)"
    parser.add_argument("--sigma", type=number_type(float, 1, 255), help=sigma)
    parser.add_argument(
        "--damage",
        action="store_true",
        help="damage the pictures first, at random as in training, to try a model on undamaged pictures",
    )
    parser.add_label_argument("class of the pictures")


def run(arguments: argparse.Namespace) -> None:
    """Write draws, their mean and spread, and a comparison for each picture."""
    from glow_app.pictures.images import to_pil, with_profile
    from glow_app.pictures.inputs import as_photo
    from glow_app.restoration import require_task, restore

    if arguments.checkpoint is None:
        photos, faces = (", ".join(bundled_restorers(kind)) for kind in ("photos", DEFAULT_MODEL))
        raise UsageError(
            f"glow restore needs --checkpoint: for photographs {photos}, for pictures like those of the model "
            f"{DEFAULT_MODEL} {faces}, or a model trained with, for example, --config restore/upscale2"
        )
    require_seeds(arguments.seed, arguments.count)
    model, stored = load(arguments, restores=True)
    given = read_given(model, arguments)
    task = require_task(model)
    _require_options(task, arguments)
    mask, masks = (None, []) if arguments.mask is None else (as_photo(arguments.mask, 1), [arguments.mask])
    named = _pictures_by_name(arguments)
    kinds = [*(f"seed{arguments.seed + number}" for number in range(arguments.count)), "mean", "spread", "comparison"]
    restored, changes = [], []
    with ResultsFolder(arguments.output, arguments.overwrite, provenance(stored)) as folder:
        folder.protect([*named.values(), *masks], [f"{name}_{kind}.png" for name in named for kind in kinds])
        for number, (name, file) in enumerate(tracked(named.items(), len(named), "restoring")):
            try:
                photo, damaged, original = _read(model, file, mask, number, arguments)
                doing = "restoring" if len(named) == 1 else None
                options = (arguments.count, arguments.temperature, arguments.seed, given, doing)
                restoration = restore(model, damaged, *options)
            except (ValueError, FloatingPointError) as error:  # not OSError, which would recur for the next picture
                if len(named) == 1:
                    raise
                print(printable(f"skipped: {error}" if file in str(error) else f"skipped: {file}: {error}"))
                continue
            for kind, picture, facts in _pictures(restoration, original):
                image = with_profile(to_pil(picture), photo.icc_profile)
                folder.save(image, f"{name}_{kind}.png", facts, picture=file)
            restored.append(name)
            if note := ", ".join(filter(None, [photo.note, task.note(damaged)])):
                changes.append((file, note))
        if not restored:
            raise ValueError(f"none of the {len(named)} pictures could be restored")
    print_changes(changes)
    noun = f"{pluralise(len(restored), 'picture')}, {pluralise(arguments.count, 'draw')} each"
    example = folder.path / f"{restored[0]}_comparison.png"
    print(printable(f"{noun}, with mean and spread, in {folder.path}; side by side: {example}"))


def _require_options(task: "RestorationTask", arguments: argparse.Namespace) -> None:
    for name in ("mask", "sigma"):
        if getattr(arguments, name) is not None and (arguments.damage or name not in task.takes):
            user = "--damage" if arguments.damage else f"a model with the task {type(task).__name__}"
            raise UsageError(f"--{name} cannot be used with {user}; leave it out")
    if "mask" in task.takes and arguments.mask is None and not arguments.damage:
        raise UsageError("this model fills missing parts: give --mask MASK.png, white where pixels are missing")


def _pictures_by_name(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the picture files by the names of their results: their paths within the folder, without suffix.

    The suffix is kept where files differ in nothing else.
    """
    paths: dict[str, Path] = {}
    for place in arguments.images:
        for file in _files(place, arguments.mask):
            paths[file] = Path(file).relative_to(place) if Path(place).is_dir() else Path(Path(file).name)
    occurrences = Counter(path.with_suffix("") for path in paths.values())
    named: dict[str, str] = {}
    for file, path in paths.items():
        name = str(path if occurrences[path.with_suffix("")] > 1 else path.with_suffix(""))
        if name in named:
            raise UsageError(f"{named[name]} and {file} have the same name; restore them into different folders")
        named[name] = file
    return named


def _files(place: str, mask: str | None) -> list[str]:
    """Return a picture file, or those of a folder without the mask and, if other files remain, without results."""
    folder = Path(place)
    if not folder.is_dir():
        return [str(folder)]
    masks = [] if mask is None else [Path(mask).resolve()]
    files = [file for file in picture_files([place]) if Path(file).resolve() not in masks]
    listed = listed_results(folder)
    subfolders = {record.parent for record in folder.rglob(RECORD)} - {folder}
    others = [file for file in files if Path(file) not in listed and not subfolders.intersection(Path(file).parents)]
    if others and len(others) < len(files):
        results = pluralise(len(files) - len(others), "result")
        print(printable(f"left out {results} of earlier runs in {place}; name the files to restore them"))
    return others or files


def _read(
    model: "ImageModel", file: str, mask: "Tensor | None", number: int, arguments: argparse.Namespace
) -> "tuple[Photo, Tensor, Tensor | None]":
    """Return a picture as read, as damaged, and, with ``--damage``, the undamaged original.

    Raises:
        ValueError: If it is missing, unreadable or too large.
    """
    import torch

    from glow_app.restoration import require_size, require_task
    from glow_app.seeding import step_generator

    task, num_channels = require_task(model), model.flow.image_shape[0]
    num_channels, factor = (num_channels, task.factor) if arguments.damage else (task.picture_channels(num_channels), 1)

    def check_size(height: int, width: int) -> None:
        require_size(model, arguments.count, math.ceil(height / factor), math.ceil(width / factor))

    photo = _read_photo(file, num_channels, check_size)
    pixels = torch.from_numpy(photo.pixels.copy())
    if not arguments.damage:
        return photo, task.prepare(pixels, mask, arguments.sigma), None
    height, width = (side // factor * factor for side in pixels.shape[1:])
    original = pixels[:, :height, :width]
    if not original.numel():
        raise ValueError(f"{file} is too small to be reduced {factor} times")
    # From another stream than the draws, which would otherwise reuse the noise that they should remove.
    return photo, task.damage(original[None], step_generator(arguments.seed, number, "cpu", "damage"))[0], original


def _read_photo(file: str, num_channels: int, require_size: "Callable[[int, int], None]") -> "Photo":
    from glow_app.data.decoding import open_image, photo_of

    try:
        with open_image(Path(file)) as image:
            require_size(image.height, image.width)
            return photo_of(image, num_channels)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {file}") from error
    except Exception as error:  # Pillow's plugins share no narrower base class
        raise ValueError(f"{file} cannot be used: {error}") from error


def _pictures(restoration: "Restoration", original: "Tensor | None") -> "Iterator[tuple[str, Tensor, dict[str, Any]]]":
    """Yield name, picture and facts of each picture to write."""
    import torch

    draws, mean, spread = restoration.draws, restoration.mean, restoration.shown_spread
    for image, facts in zip(draws, draws.facts, strict=True):
        yield f"seed{facts['seed']}", image, facts
    yield "mean", mean, draws.common_facts
    yield "spread", spread, draws.common_facts
    # Reduced, because viewers cannot open large pictures side by side.
    step = math.ceil(math.sqrt(spread.numel() / LARGEST_COMPARED))
    row = [restoration.given, *draws[:DRAWS_COMPARED], mean, spread.expand(draws.shape[1], -1, -1)]
    row += [] if original is None else [original]
    yield "comparison", torch.cat([picture[:, ::step, ::step] for picture in row], dim=2), draws.common_facts
