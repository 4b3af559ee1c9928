"""Pictures that a command reads: files, their images in the model's shape, and their classes."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.messages import pluralise, printable
from glow_app.progress import tracked

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel

LISTED = 20  # maximum number of pictures to list individually
Changes = list[tuple[str, str]]  # picture, and note on the changes of its size and colour


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

    Prints how many were changed in size and colour, and which unreadable files of folders were skipped. Shows a
    progress bar with the description ``doing``, if given.

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


def classified_batches(
    model: "ImageModel",
    places: Sequence[str],
    given: int | Sequence[int] | None,
    batch_size: int,
    doing: str | None = None,
) -> "Iterator[tuple[list[str], Tensor, Tensor | None]]":
    """Yield the batches of :func:`picture_batches` with the class of each picture, (B,), int64.

    A picture has the class that is given, or else the one named like its folder, or the most likely one; how many have
    which is printed at the end. The classes are None for a model without classes.
    """
    from glow_app.models.class_labels import as_labels

    by_folder: Counter[int] = Counter()
    inferred: list[tuple[str, int, float]] = []
    for names, images in picture_batches(model, places, batch_size, doing):
        labels = as_labels(model, given, len(images))
        if labels is None and model.flow.num_classes is not None:
            labels = _find_classes(model, images, names, by_folder, inferred)
        yield names, images, labels
    _print_classes(model, by_folder, inferred)


def _find_classes(
    model: "ImageModel",
    images: "Tensor",
    names: Sequence[str],
    by_folder: Counter[int],
    inferred: list[tuple[str, int, float]],
) -> "Tensor":
    """Return the class of each picture, from its folder or inferred, and add it to the report."""
    import torch

    from glow_app.generation import class_probabilities

    numbers = {name: number for number, name in enumerate(model.class_names)}
    labels = torch.tensor([numbers.get(Path(name).parent.name, -1) for name in names])
    by_folder.update(labels[labels >= 0].tolist())
    rows = labels.lt(0).nonzero().flatten()
    if len(rows):
        probabilities, labels[rows] = class_probabilities(model, images[rows]).max(1)
        unknown = (names[row] for row in rows.tolist())
        inferred += zip(unknown, labels[rows].tolist(), probabilities.tolist(), strict=True)
    return labels


def _print_classes(model: "ImageModel", by_folder: Counter[int], inferred: list[tuple[str, int, float]]) -> None:
    """Print the number of pictures of each class; inferred classes picture by picture, if they are few."""
    from glow_app.models.class_labels import class_text

    listed = inferred if len(inferred) <= LISTED else []
    counted = Counter(number for _, number, _ in inferred[len(listed) :])
    for how, counts in (("from the names of their folders", by_folder), ("inferred", counted)):
        if counts:
            texts = [f"{num} of class {class_text(model, number)}" for number, num in sorted(counts.items())]
            print(printable(f"classes of {pluralise(counts.total(), 'picture')}, {how}: {', '.join(texts)}"))
    for name, number, probability in listed:
        print(printable(f"{name}: class {class_text(model, number)}, inferred with probability {probability:.2f}"))


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
