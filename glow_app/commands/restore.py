"""Enlarge, denoise, deblock, colour or fill pictures of any size, with a model trained for it."""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.common import Changes, load, made_by, print_changes
from glow_app.commands.parser import Parser, number_type, require_seeds, seed_number, temperature
from glow_app.commands.restore_folder import RestoreFolder, is_short_enough, names_of_results, outputs_of
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked
from glow_app.storage.places import DEFAULT_MODEL, bundled_restorers

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from glow_app.data.decoding import Photo
    from glow_app.generation import Restoration
    from glow_app.models.image_model import ImageModel
    from glow_app.tasks import RestorationTask

LARGEST_COUNT = 10_000  # draws; each has a file that is checked before the picture is read
LARGEST_COMPARED, DRAWS_COMPARED = 1 << 22, 4  # maximum pixels of each part of the comparison, and draws in it


def add_arguments(parser: Parser) -> None:
    """Add the options of ``glow restore``."""
    parser.add_argument("images", nargs="+", help="damaged picture files, or folders of them", metavar="PICTURE")
    parser.add_model_arguments()
    parser.set_defaults(checkpoint=None)  # no bundled model restores all kinds of pictures
    parser.add_output_arguments("restored")
    parser.add_argument("--count", type=_count, default=4, help=f"draws per picture: 1 to {LARGEST_COUNT:,}")
    parser.add_argument("--temperature", type=temperature, help="temperature (default: the model's recommendation)")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the first draw")
    parser.add_argument("--mask", help="fill: picture that is white where pixels are missing")
    parser.add_argument("--sigma", type=_sigma, help="denoise: standard deviation in grey levels (default: estimated)")
    parser.add_argument(
        "--damage",
        action="store_true",
        help="damage the pictures first, at random as in training: to try a model on undamaged pictures",
    )
    parser.add_label_argument("class of the pictures")


_count = number_type(
    int, f"must be a whole number from 1 to {LARGEST_COUNT:,}", lambda value: 1 <= value <= LARGEST_COUNT
)
_sigma = number_type(float, "must be a number of grey levels from 1 to 255", lambda value: 1 <= value <= 255)


def run(arguments: argparse.Namespace) -> None:
    """Write draws, their mean and spread, and a comparison for each picture."""
    from glow_app.generation.restore import require_size, require_task

    if arguments.checkpoint is None:
        photos, faces = (", ".join(bundled_restorers(kind)) for kind in ("photos", DEFAULT_MODEL))
        raise UsageError(
            f"glow restore needs --checkpoint: for photographs {photos}, for pictures like those of the model "
            f"{DEFAULT_MODEL} {faces}, or a model trained with, for example, --config restore/upscale2"
        )
    require_seeds(arguments.seed, arguments.count)
    model = load(arguments, restores=True)
    _require_options(require_task(model), arguments)
    mask = None
    if arguments.mask is not None:
        mask = _read(arguments.mask, 1, partial(require_size, model, arguments.count)).pixels
    named = names_of_results(arguments)
    origin = made_by(arguments)
    folder = RestoreFolder(arguments, named, origin)
    skipped: list[str] = []
    restored: list[str] = []
    changes: Changes = []
    try:
        for name, file, result in _restored_files(model, named, mask, arguments, skipped):
            _write(result, folder.path / name, origin)
            folder.add(name, {"file": file, "name": name, **result.facts(arguments)}, outputs_of(name, arguments))
            restored.append(name)
            if result.note:
                changes.append((file, result.note))
    finally:
        folder.close()
    print_changes(changes)
    for line in skipped:
        print(printable(f"skipped: {line}"))
    if not restored:
        raise ValueError(f"none of the {len(named)} pictures could be restored")
    noun = f"{pluralise(len(restored), 'picture')}, {pluralise(arguments.count, 'draw')} each"
    example = folder.path / f"{restored[0]}_comparison.png"
    print(printable(f"{noun}, with mean and spread, in {folder.path}; side by side: {example}"))


@dataclass
class _Restored:
    """A restoration, the picture that was read, the undamaged original with ``--damage``, and a note."""

    restoration: "Restoration"
    photo: "Photo"
    original: "Tensor | None"
    note: str

    def facts(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return the facts for the record."""
        height, width = self.restoration.draws.shape[2:]
        facts = {"size": [width, height]} | ({} if arguments.mask is None else {"mask": arguments.mask})
        return facts | {"count": arguments.count} | self.restoration.draws.common_facts


def _restored_files(
    model: "ImageModel",
    named: dict[str, str],
    mask: "np.ndarray | None",
    arguments: argparse.Namespace,
    skipped: list[str],
) -> Iterator[tuple[str, str, _Restored]]:
    """Yield name, file and result of each picture; with several, add the errors of failed ones to ``skipped``."""
    doing = "restoring" if len(named) == 1 else None
    for number, (name, file) in enumerate(tracked(named.items(), len(named), "restoring")):
        try:
            if not all(map(is_short_enough, outputs_of(name, arguments))):
                raise ValueError(f"{file}: its name is too long for the names of results; rename it")
            result = _restore_file(model, file, mask, number, arguments, doing)
        except (ValueError, FloatingPointError) as error:  # not OSError, which would recur for the next picture
            if len(named) == 1:
                raise
            skipped.append(f"{file}: {error}" if file not in str(error) else str(error))
        else:
            yield name, file, result


def _restore_file(
    model: "ImageModel",
    file: str,
    mask: "np.ndarray | None",
    number: int,
    arguments: argparse.Namespace,
    doing: str | None,
) -> _Restored:
    import torch

    from glow_app.generation.restore import require_size, require_task, restore
    from glow_app.seeding import step_generator

    task, num_channels = require_task(model), model.flow.image_shape[0]
    num_channels, factor = (num_channels, task.factor) if arguments.damage else (task.picture_channels(num_channels), 1)

    def check_size(height: int, width: int) -> None:
        if min(height, width) < factor:
            raise ValueError(
                f"it is {width}x{height}; expected at least {factor}x{factor}, to be reduced {factor} times"
            )
        require_size(model, arguments.count, height // factor, width // factor)

    photo = _read(file, num_channels, check_size)
    pixels, original = torch.from_numpy(photo.pixels.copy()), None
    if arguments.damage:
        height, width = (side // factor * factor for side in pixels.shape[1:])
        original = pixels[:, :height, :width]
        # From another stream than the draws, which would otherwise reuse the noise that they should remove.
        damaged = task.damage(original[None], step_generator(arguments.seed, number, "cpu", "damage"))[0]
    else:
        missing = None if mask is None else torch.from_numpy(mask.copy())
        damaged = task.prepare(pixels, missing, arguments.sigma)
    restoration = restore(
        model, damaged, arguments.count, arguments.temperature, arguments.seed, arguments.label, doing
    )
    note = ", ".join(filter(None, [photo.note, task.note(damaged)]))
    return _Restored(restoration, photo, original, note)


def _read(file: str, num_channels: int, require_size: "Callable[[int, int], None]") -> "Photo":
    from glow_app.data.decoding import read_photo

    try:
        return read_photo(Path(file), num_channels, require_size)
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {file}") from error
    except Exception as error:  # Pillow's plugins share no narrower base class
        raise ValueError(f"{file} cannot be used: {error}") from error


def _require_options(task: "RestorationTask", arguments: argparse.Namespace) -> None:
    for name in ("mask", "sigma"):
        if getattr(arguments, name) is not None and name not in task.takes:
            raise UsageError(f"--{name} is not for this model, which has the task {type(task).__name__}; leave it out")
        if getattr(arguments, name) is not None and arguments.damage:
            raise UsageError(f"--{name} says how a picture is damaged, and --damage damages it; leave one of them out")
    if "mask" in task.takes and arguments.mask is None and not arguments.damage:
        raise UsageError("this model fills missing parts: give --mask MASK.png, white where the picture is missing")


def _write(restored: _Restored, path: Path, facts: dict[str, Any]) -> None:
    """Write all pictures, with ``facts`` and their own; their names start with that of ``path``."""
    from glow_app.pictures.images import save_png, to_pil, with_profile

    path.parent.mkdir(parents=True, exist_ok=True)
    for kind, picture, picture_facts in _pictures(restored.restoration, restored.original):
        image = with_profile(to_pil(picture), restored.photo.icc_profile)
        save_png(image, path.with_name(f"{path.name}_{kind}.png"), picture_facts | facts)


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
