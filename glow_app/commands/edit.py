"""Change attributes of pictures: learn directions from examples, then apply them."""

import argparse
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.commands.input_pictures import LISTED, given_batches, picture_files
from glow_app.commands.loading import directions_folders, load, load_stored, provenance, read_chosen_attributes
from glow_app.commands.parser import Parser, number_type
from glow_app.commands.results import free_paths, one_picture, refuse_existing
from glow_app.messages import UsageError, in_words, pluralise, printable
from glow_app.numeric_limits import LARGEST_STRENGTH

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel
    from glow_app.storage.stored_model import StoredModel

    Changed = tuple[Tensor, Tensor | None]  # a picture at several strengths, and what is given or inferred

SHARES = [-1.0, -0.5, 0.0, 0.5, 1.0]  # of --strength, in a strip along a direction
ATTRIBUTE_SHARES = [0.0, 0.5, 0.8, 1.0, 1.2]  # in the strip of attributes

# Names of the attributes, files or folders of the examples, and the attributes of each file.
Examples = tuple[list[str], list[str], dict[str, list[float]]]


def add_arguments(parser: Parser) -> None:
    """Add ``learn`` and ``apply`` with their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="learn|apply")
    learn = actions.add_parser("learn", help="learn directions from examples", description=_learn.__doc__)
    learn.add_argument("name", nargs="?", help="name of the direction; needs --with and --without", metavar="NAME")
    learn.add_argument("--with", dest="present", help="folder of pictures with the attribute", metavar="FOLDER")
    learn.add_argument("--without", dest="absent", help="folder of pictures without it", metavar="FOLDER")
    learn.add_argument("--attributes", help="CSV of files and attributes, instead of two folders", metavar="FILE")
    learn.add_argument("--folder", help="folder of the files in the CSV (default: that of the CSV)", metavar="FOLDER")
    learn.add_argument("--columns", nargs="+", help="columns of the CSV to learn (default: all)", metavar="NAME")
    learn.add_argument("--overwrite", action="store_true", help="replace directions of the same name")
    learn.add_batch_size_argument()
    learn.set_defaults(act=_learn)
    apply = actions.add_parser("apply", help="change pictures", description=_apply.__doc__)
    apply.add_argument("images", nargs="+", help="pictures to change, or folders of them", metavar="PICTURE")
    apply.add_argument("--direction", help="direction learnt by glow edit learn", metavar="NAME")
    apply.add_attribute_arguments()
    strength = number_type(float, -LARGEST_STRENGTH, LARGEST_STRENGTH)
    factor = "factor of the change, negative to remove the attribute of a direction"
    apply.add_argument("--strength", type=strength, default=1.0, help=factor)
    apply.add_output_arguments("NAME.png")
    apply.set_defaults(act=_apply)
    for action in (learn, apply):
        action.add_model_arguments()
        action.add_given_argument()
        action.add_directions_argument()


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen action."""
    arguments.act(arguments)


def _learn(arguments: argparse.Namespace) -> None:
    """Learn the direction of an attribute from pictures with and without it, or several from a table."""
    import torch

    from glow_app.pipeline.directions import check_name, save_direction
    from glow_app.pipeline.editing import learn_directions
    from glow_app.storage.stored_model import StoredModel

    stored = StoredModel(arguments.checkpoint)
    folder = directions_folders(arguments, stored)[0]
    names, places, attributes = _examples(arguments)
    paths = [folder / f"{check_name(name)}.safetensors" for name in names]
    refuse_existing(paths, arguments.overwrite, instead="another NAME or --directions")
    model = load_stored(stored, arguments.device)
    batches = given_batches(model, places, arguments.given, arguments.batch_size, "learning")
    examples = ((images, torch.tensor([attributes[file] for file in files]), given) for files, images, given in batches)
    for name, direction in learn_directions(model, examples, names).items():
        path = save_direction(direction, name, model, folder)
        print(f"{name}, from {pluralise(direction.num_images, 'image')}: {path}")


def _examples(arguments: argparse.Namespace) -> Examples:
    """Return the examples of two folders or of a table; refuse incomplete options."""
    uses_folders = {bool(value) for value in (arguments.name, arguments.present, arguments.absent)}
    if uses_folders != {not arguments.attributes}:
        raise UsageError("glow edit learn needs NAME --with FOLDER --without FOLDER, or else --attributes FILE")
    if arguments.attributes:
        return _examples_of_table(arguments)
    for option in ("columns", "folder"):
        if getattr(arguments, option) is not None:
            raise UsageError(f"--{option} needs --attributes FILE")
    places = {arguments.present: 1.0, arguments.absent: 0.0}
    attributes = {file: [value] for place, value in places.items() for file in picture_files([place])}
    return [arguments.name], list(places), attributes


def _examples_of_table(arguments: argparse.Namespace) -> Examples:
    """Return the examples of ``--attributes``; refuse missing files and unusable attributes."""
    from glow_app.data.attributes import read_attributes
    from glow_app.pipeline.editing import check_attributes

    table = read_attributes(Path(arguments.attributes), arguments.columns)
    root = Path(arguments.folder or Path(arguments.attributes).parent)
    files = [root / file for file in table.files]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"there is no file {missing[0]} ({len(missing):,} of {len(files):,} are missing); "
            "pass their folder as --folder, or remove their lines from the table"
        )
    values, names = table.standardised, list(table.kinds)
    check_attributes(values, names)
    attributes = dict(zip(map(str, files), values.tolist(), strict=True))
    return names, list(attributes), attributes


def _apply(arguments: argparse.Namespace) -> None:
    """Write the changed pictures, each with a strip of strengths, or one as a file."""
    from glow_app.pictures.images import grid, save_picture, to_pil
    from glow_app.pipeline.inference import given_facts

    if bool(arguments.direction) == bool(arguments.present or arguments.absent):
        raise UsageError("glow edit apply needs either --direction, or --with and --without")
    model, stored = load(arguments)
    edit = (_by_direction if arguments.direction else _by_attributes)(model, stored, arguments)
    strip = [share * arguments.strength for share in edit.shares]
    strengths = [arguments.strength, *strip]
    texts = [f"{strength:+g}" if strength else "0" for strength in strip]
    files = picture_files(arguments.images)
    only = one_picture(arguments.output, len(files))
    # Numbered, because pictures of different folders may share a name.
    label = re.sub(r"[^\w.-]+", "_", edit.value)[:100]
    names = {file: f"{number:03d}_{Path(file).stem}_{label}" for number, file in enumerate(files)}
    results = [f"{name}{end}" for name in names.values() for end in ([".png"] if only else [".png", "_strip.png"])]
    folder = free_paths(arguments.output, results, arguments.overwrite)[0].parent
    for (file,), image, part in given_batches(model, arguments.images, arguments.given, 1, "editing"):
        picture, shown = only or folder / f"{names[file]}.png", folder / f"{names[file]}_strip.png"
        changed, filled = edit.change(file, image, part, strengths)
        facts = {edit.kind: edit.value} | provenance(stored) | given_facts(model, filled)
        save_picture(to_pil(changed[0]), picture, {**facts, "strength": strengths[0]})
        if not only:
            save_picture(grid(changed[1:], len(strip), above=texts), shown, {**facts, "strength": ", ".join(texts)})
        if len(files) <= LISTED:
            print(printable(str(only or f"{picture}, {shown}")))
            if filled is not None and (part is None or part.isnan().any()):
                print(printable(f"{file}: {facts['given']} ({'inferred' if part is None else 'given or inferred'})"))
    if len(files) > LISTED:
        print(f"{pluralise(len(files), 'picture')}, each with a strip: {folder}")


@dataclass(frozen=True)
class _Edit:
    """A change of pictures: its kind and value, shares of the strength in the strip, and how a picture is changed."""

    kind: str
    value: str
    shares: list[float]
    change: "Callable[[str, Tensor, Tensor | None, list[float]], Changed]"


def _by_direction(model: "ImageModel", stored: "StoredModel", arguments: argparse.Namespace) -> _Edit:
    """Return the edit of ``--direction``."""
    from glow_app.pipeline import edit, load_direction

    direction = load_direction(arguments.direction, model, *directions_folders(arguments, stored))

    def change(file: str, image: "Tensor", given: "Tensor | None", strengths: list[float]) -> "Changed":
        return edit(model, image, [(direction, strengths)], given), given

    return _Edit("direction", arguments.direction, SHARES, change)


def _by_attributes(model: "ImageModel", stored: "StoredModel", arguments: argparse.Namespace) -> _Edit:
    """Return the edit of ``--with`` and ``--without``, which infers the attributes that are not given."""
    from glow_app.pipeline import Reference, drawn_with, edit_attributes, infer

    read = read_chosen_attributes(model, arguments)
    reference = Reference.of_facts(stored.facts, len(model.flow.latent_shapes))
    assert read is not None
    changes = read[0]

    def change(file: str, image: "Tensor", given: "Tensor | None", strengths: list[float]) -> "Changed":
        inferred = infer(model, image, given)
        if reference is not None and drawn_with(model, image) == [None]:
            bits, usual = float(model.bits_per_dim(image, inferred)), reference.median_bits_per_dim
            if bits > 2 * usual:  # far less likely than ordinary pictures, such as a photograph
                theirs = f"{bits:.2f} bits/dim, and theirs are {usual:.2f}"
                warnings.warn(f"{file} is unlike the model's training images: {theirs}", stacklevel=2)
        return edit_attributes(model, image, changes, inferred, strengths), inferred

    return _Edit("attributes", in_words(changes), ATTRIBUTE_SHARES, change)
