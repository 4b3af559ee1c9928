"""Pictures that a command reads: files, their images in the model's shape, and what they are given."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glow_app.commands.loading import read_given
from glow_app.messages import UsageError, in_words, pluralise, printable, report_failure
from glow_app.progress import tracked

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel
    from glow_app.pictures.image_batch import Images

LISTED = 20  # maximum number of pictures to list individually
Changes = list[tuple[str, str]]  # picture, and note on the changes of its size and colour


def picture_files(places: Sequence[str | Path]) -> list[str]:
    """Return picture files, and the picture files in folders, in order, without checking that they are readable."""
    from glow_app.data.listing import list_images

    files: list[str] = []
    for place in map(Path, places):
        files += [str(place / file.name) for file in list_images(place).files] if place.is_dir() else [str(place)]
    return files


def given_batches(
    model: "ImageModel",
    places: Sequence[str],
    texts: list[str] | None,
    batch_size: int,
    doing: str,
    infers: bool = True,
    skips: bool = True,
) -> "Iterator[tuple[list[str], Tensor, Tensor | None]]":
    """Yield batches of picture files and of folders, in order: names; images, uint8 (B, C, H, W); what each is given.

    Images are in the model's shape. What they are given, as a tensor, is that of ``--given``, one value for all or one
    for each. Without it, if ``infers``, it is what the picture was drawn with, as its PNG says, or what its folder's
    name says or, if the possible values are few, such as classes, the most likely one. It is None if nothing is known.

    Shows a progress bar with the description ``doing``. Prints how many pictures were changed in size and colour, which
    unreadable files were skipped, and which pictures were given what.

    Raises:
        ValueError: If no file is readable or, unless ``skips``, one is not; or if a value is invalid.
        UsageError: If the number of values is neither one nor that of the pictures.
    """
    import torch

    from glow_app.pictures.image_batch import Images
    from glow_app.pipeline.inference import find_values

    changes: Changes = []
    report: list[tuple[str, Any, str]] = []  # picture, what it is given, and the origin of this
    given, files = read_given(model, texts), picture_files(places)
    pictures = _pictures(model, files, changes, skips)
    if given is not None and len(given) not in (1, len(files)):
        numbers = f"{pluralise(len(given), 'value')} for {pluralise(len(files), 'picture')}"
        raise UsageError(f"--given has {numbers}; expected one, or one for each")
    pairs = None if given is None else zip(files, itertools.cycle(given), strict=False)
    batches = iter(lambda: list(itertools.islice(pictures, batch_size)), [])
    for batch in tracked(batches, math.ceil(len(files) / batch_size), doing):
        names = [name for name, _ in batch]
        images = Images(torch.stack([image for _, image in batch]), [image.facts[0] for _, image in batch])
        values = None
        if pairs is not None:  # unreadable files are skipped
            each = [next(value for file, value in pairs if file == name) for name in names]
            values = model.vocabulary.parse(each, len(images))
        elif infers:
            values, ways = find_values(model, images, [Path(name).parent.name for name in names])
            report += zip(names, model.vocabulary.format(values), ways, strict=False)
        yield names, images, values
    print_changes(changes)
    _print_found(report)


def _print_found(report: list[tuple[str, Any, str]]) -> None:
    """Print how many pictures are given which value; picture by picture, if few values were inferred."""
    from glow_app.pipeline.inference import BY_FOLDER

    for how in sorted({way for _, _, way in report}):
        pairs = [(name, in_words(value)) for name, value, way in report if way == how]
        if how != BY_FOLDER and len(pairs) <= LISTED:
            for name, value in pairs:
                print(printable(f"{name}: given {value}, {how}"))
        elif pairs:
            counts = ", ".join(f"{value} ({num})" for value, num in Counter(value for _, value in pairs).most_common())
            print(printable(f"given to {pluralise(len(pairs), 'picture')}, {how}: {counts}"))


def _pictures(model: "ImageModel", files: list[str], changes: Changes, skips: bool) -> "Iterator[tuple[str, Images]]":
    """Yield name and image of each picture, and add what was changed to ``changes``."""
    import torch

    from glow_app.pictures.image_batch import Images
    from glow_app.pictures.inputs import read_photo

    num_read = 0
    for file in files:
        try:
            photo = read_photo(file, model.flow.image_shape)
        except ValueError as error:
            if len(files) == 1 or not skips:
                raise
            report_failure(f"skipped: {error}")
            continue
        num_read += 1
        changes += [] if photo.note is None else [(file, photo.note)]
        yield file, Images(torch.from_numpy(photo.pixels.copy()), [dict(photo.drawn)])
    if not num_read:
        raise ValueError(f"none of the {len(files)} files could be read as a picture")


def print_changes(changes: Changes) -> None:
    """Print the changes of pictures: the whole note of a single picture, or the number of pictures for each change."""
    if len(changes) == 1:
        print(printable(": ".join(changes[0])))
        return
    for part, count in Counter(part for _, note in changes for part in note.split(", ")).items():
        print(f"{pluralise(count, 'picture')}: {part}")
