"""Functions that several commands share: loading the model, output folders, and images from files."""

import argparse
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app import __version__
from glow_app.files import atomic_file, require_folder
from glow_app.messages import UsageError, pluralise, printable
from glow_app.progress import tracked
from glow_app.storage.model_folders import origin

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel


Changes = list[tuple[str, str]]  # picture, and note on the changes of its size and colour


def table_row(name: str, *cells: str, width: int = 35) -> str:
    """Format a row of a printed table, with 28 characters for the name and ``width`` for each cell."""
    return f"{name:<28}" + "".join(f"{cell:<{width}} " for cell in cells).rstrip()


def load(arguments: argparse.Namespace, show_origin: bool = False, restores: bool | None = False) -> "ImageModel":
    """Load the image model of ``--checkpoint`` on ``--device``, and convert ``--label`` to class numbers.

    Prints place and hash of the model with ``show_origin``, or if it is bundled or from the hub.

    Raises:
        ValueError: If ``restores`` is True and the model has no task, or False and it has one; None accepts both.
    """
    model = load_stored(stored_model(arguments), device_of(arguments), show_origin, restores)
    label = getattr(arguments, "label", None)
    if isinstance(label, list):
        arguments.label = [_class_number(model, name) for name in label]
    elif label is not None:
        arguments.label = _class_number(model, label)
    return model


def _class_number(model: "ImageModel", label: str) -> int:
    """Return the number of a class; print a note if the label is also the name of another class."""
    from glow_app.models.class_labels import class_number

    number, names = class_number(model, label), model.class_names
    if label in names and names[number] != label:
        own = f"the class named {label} has number {names.index(label)}"
        print(printable(f"--label {label} is the number of the class named {names[number]}; {own}"))
    return number


def load_stored(
    stored: "StoredModel", device: "torch.device", show_origin: bool = False, restores: bool | None = False
) -> "ImageModel":
    """Load a stored image model; see :func:`load`."""
    from glow_app.restoration import require_task

    model = stored.load_image_model(device).freeze()
    if restores and model.task is None:
        raise ValueError(f"{stored.place} restores nothing; train a model with, for example, --config restore/upscale2")
    if model.task is not None and restores is False:
        raise ValueError(
            f"{stored.place} restores damaged pictures ({type(model.task).__name__}); use glow restore, or "
            f"glow serve --restorers {stored.place}"
        )
    if model.task is not None:
        require_task(model)  # raises if the flow is untrained
    print_origin(stored, show_origin)
    return model


def stored_model(arguments: argparse.Namespace) -> "StoredModel":
    """Return the stored model of ``--checkpoint``, cached in ``arguments``."""
    from glow_app.storage.stored_model import StoredModel

    if "stored" not in arguments:
        arguments.stored = StoredModel(arguments.checkpoint)
    stored: StoredModel = arguments.stored
    return stored


def made_by(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the origin to record in a command's results: the model's hash and the version."""
    return {"model": stored_model(arguments).hash, "version": __version__}


def print_origin(stored: "StoredModel", always: bool = False) -> None:
    """Print place and hash of a model that is bundled or from the hub, or of any model with ``always``."""
    if always or not stored.is_own:
        facts = "".join(f", {name} {value}" for name, value in origin(stored.place).items() if name != "hub")
        print(f"model: {stored.place} (sha256 {stored.hash[:12]}{facts})")


def print_lost_bits(model: "ImageModel", lost: int) -> None:
    """Print the largest change of a pixel by quantisation to fewer than 8 bits, out of 255, unless it is 0."""
    if lost:
        print(f"the model keeps {model.num_bits} of 8 bits, which changed a pixel by up to {lost} beforehand")


def device_of(arguments: argparse.Namespace) -> "torch.device":
    """Return the device of ``--device``."""
    from glow_app.storage.stored_model import find_device

    return find_device(arguments.device)


def directions_folders(arguments: argparse.Namespace) -> list[Path]:
    """Return the folders of edit directions: ``--directions``, or else those of the model. New ones go to the first."""
    if arguments.directions is not None:
        return [Path(arguments.directions)]
    return stored_model(arguments).directions


def output_folder(arguments: argparse.Namespace) -> Path:
    """Create and return the ``--output`` folder."""
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_existing(paths: Sequence[Path], overwrite: bool, instead: str = "another --output") -> None:
    """Raise FileExistsError if an output file exists, unless ``overwrite``, or a file blocks its folder."""
    for folder in {path.parent for path in paths}:
        require_folder(folder)
    existing = next((path for path in paths if path.exists()), None)
    if existing and not overwrite:
        raise FileExistsError(f"{existing} exists already; choose {instead} or pass --overwrite")


def refuse_replacing(inputs: Iterable[str | Path], outputs: Sequence[Path]) -> None:
    """Raise UsageError if an output file is also an input, even with ``--overwrite``."""
    resolved = {Path(file).resolve() for file in inputs}
    for output in outputs:
        if output.resolve() in resolved:
            raise UsageError(f"a result would replace {output}, which is given; choose another --output")


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record of plain types as JSON, with null for non-finite numbers, which JSON cannot represent."""
    finite = json.loads(json.dumps(record), parse_constant=lambda _: None)
    with atomic_file(path) as file:
        file.write((json.dumps(finite, indent=1) + "\n").encode())


def picture_files(places: Sequence[str | Path]) -> list[str]:
    """Return picture files, and the picture files in folders, in order, without checking that they are readable."""
    from glow_app.data.listing import list_images

    files: list[str] = []
    for place in map(Path, places):
        files += [str(place / file.name) for file in list_images(place).files] if place.is_dir() else [str(place)]
    return files


def picture_batches(
    model: "ImageModel", places: Sequence[str], batch_size: int, doing: str | None = None
) -> "Iterator[tuple[list[str], Tensor]]":
    """Yield names and images, uint8 (B, C, H, W) in the model's shape, of picture files and of folders, in order.

    Prints how many are changed in size and colour, and which unreadable files of folders are skipped. Shows a progress
    bar with the description ``doing``, if given.

    Raises:
        ValueError: If a file is missing or unreadable, or all files of a folder are unreadable.
    """
    import torch

    changes: Changes = []
    pictures = _pictures(model, places, changes)
    count = math.ceil(len(picture_files(places)) / batch_size)
    batches = iter(lambda: list(itertools.islice(pictures, batch_size)), [])
    for batch in batches if doing is None else tracked(batches, count, doing):
        names, images = zip(*batch, strict=True)
        yield list(names), torch.stack(images)
    print_changes(changes)


def _pictures(model: "ImageModel", places: Sequence[str], changes: Changes) -> "Iterator[tuple[str, Tensor]]":
    """Yield name and image of each picture, and add what was changed to ``changes``."""
    import torch

    from glow_app.pictures.inputs import read_picture

    for place in map(Path, places):
        files, num_read = picture_files([place]), 0
        for file in files:
            try:
                array, note = read_picture(file, model.flow.image_shape)
            except ValueError as error:
                if not place.is_dir():
                    raise
                print(printable(f"skipped: {error}"))
                continue
            num_read += 1
            changes += [] if note is None else [(file, note)]
            yield file, torch.from_numpy(array.copy())
        if not num_read:
            raise ValueError(f"none of the {len(files)} files in {place} could be read as a picture")


def print_changes(changes: Changes) -> None:
    """Print the changes of pictures: the whole note of a single picture, or the number of pictures for each change."""
    if len(changes) == 1:
        print(printable(": ".join(changes[0])))
        return
    parts = (re.sub(r"^\d+x\d+ ", "", part) for _, note in changes for part in note.split(", "))
    for part, count in Counter(parts).items():
        print(f"{pluralise(count, 'picture')}: {part}")
