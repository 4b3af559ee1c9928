"""Change attributes of pictures: learn directions from examples, then apply them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.commands.classes import LISTED, PictureClasses
from glow_app.commands.common import (
    directions_folders,
    load,
    made_by,
    output_folder,
    picture_batches,
    picture_files,
    refuse_existing,
)
from glow_app.commands.parser import Parser, number
from glow_app.messages import UsageError, pluralise, printable
from glow_app.numeric_limits import check_strength

if TYPE_CHECKING:
    from glow_app.data.attributes import Attributes

STRENGTHS = [-1.0, -0.5, 0.0, 0.5, 1.0]


def add_arguments(parser: Parser) -> None:
    """Add ``learn`` and ``apply`` with their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="learn|apply")
    learn = actions.add_parser("learn", help="learn directions from examples", description=_learn.__doc__)
    learn.add_argument("name", nargs="?", help="name of the direction, with --with and --without", metavar="NAME")
    learn.add_argument("--with", dest="present", help="folder of pictures with the attribute", metavar="FOLDER")
    learn.add_argument("--without", dest="absent", help="folder of pictures without it", metavar="FOLDER")
    learn.add_argument("--attributes", help="CSV of files and attributes, instead of two folders", metavar="FILE")
    learn.add_argument(
        "--folder",
        help="folder that file names in the CSV are relative to (default: that of the CSV)",
        metavar="FOLDER",
    )
    learn.add_argument("--columns", nargs="+", help="columns of the CSV to learn (default: all)", metavar="NAME")
    learn.add_argument("--overwrite", action="store_true", help="replace directions of the same name")
    learn.add_batch_size_argument()
    learn.set_defaults(act=_learn)
    apply = actions.add_parser("apply", help="change pictures", description=_apply.__doc__)
    apply.add_argument("images", nargs="+", help="pictures to change, or folders of them", metavar="PICTURE")
    apply.add_argument("--direction", required=True, help="direction learnt by glow edit learn", metavar="NAME")
    apply.add_argument("--strength", type=_strength, default=1.0, help="1 adds the attribute, -1 removes it")
    apply.add_output_arguments("edits")
    apply.set_defaults(act=_apply)
    for action in (learn, apply):
        action.add_model_arguments()
        action.add_label_argument("class of all pictures (default: from their folders' names, or inferred)")
        action.add_argument(
            "--directions", help="folder of directions (default: directions/ beside the model)", metavar="FOLDER"
        )


def _strength(text: str) -> float:
    value = number(text)
    try:
        return check_strength(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen action."""
    arguments.act(arguments)


def _learn(arguments: argparse.Namespace) -> None:
    """Learn the direction of an attribute from pictures with and without it, or several from a table."""
    import torch

    from glow_app.data.attributes import read_attributes
    from glow_app.generation.directions import check_name, save_direction
    from glow_app.generation.editing import learn_directions

    by_folders = {bool(value) for value in (arguments.name, arguments.present, arguments.absent)}
    if by_folders != {not arguments.attributes}:
        raise UsageError("glow edit learn needs NAME --with FOLDER --without FOLDER, or else --attributes FILE")
    for option in ("columns", "folder"):
        if not arguments.attributes and getattr(arguments, option) is not None:
            raise UsageError(f"--{option} is of a table of attributes; give --attributes FILE, or leave it out")
    folder = directions_folders(arguments)[0]
    if arguments.directions is None and folder.is_symlink():  # in a downloaded model, it could lead anywhere
        raise FileExistsError(f"{folder} is a link; remove it, or give its folder by --directions")
    table = None if arguments.attributes is None else read_attributes(Path(arguments.attributes), arguments.columns)
    names = [arguments.name] if table is None else table.names
    paths = [folder / f"{check_name(name)}.safetensors" for name in names]
    refuse_existing(paths, arguments.overwrite, instead="another NAME or --directions")
    values = _values_of_folders(arguments) if table is None else _values_of_table(table, arguments)
    places = [arguments.present, arguments.absent] if table is None else list(values)
    model = load(arguments)
    classes = PictureClasses(model, arguments.label)
    batches = picture_batches(model, places, arguments.batch_size, "learning")
    examples = (
        (images, torch.tensor([values[file] for file in files]), classes.of(images, files)) for files, images in batches
    )
    learnt = learn_directions(model, examples, names)
    classes.report()
    for name, direction in learnt.items():
        path = save_direction(direction, name, model, folder)
        print(f"{name}, from {pluralise(direction.num_images, 'image')}: {path}")
        for hidden in directions_folders(arguments)[1:]:
            if (hidden / path.name).exists():
                print(f"{name} is used in the place of the model's own from now on; --directions {hidden} takes that")


def _values_of_folders(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return the attribute of each picture file of both folders; refuse missing folders and the same folder twice."""
    if Path(arguments.present).resolve() == Path(arguments.absent).resolve():
        raise UsageError(f"--with and --without are the same folder, {arguments.present}; expected two")
    folders = ((arguments.present, 1.0), (arguments.absent, 0.0))
    return {file: [value] for place, value in folders for file in picture_files([place])}


def _values_of_table(table: "Attributes", arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Return the attributes of each picture file; refuse missing files and unusable attributes."""
    from glow_app.generation.editing import check_attributes

    root = Path(arguments.folder or Path(arguments.attributes).parent)
    files = [root / file for file in table.files]
    if missing := [file for file in files if not file.is_file()]:
        raise FileNotFoundError(
            f"there is no file {missing[0]} ({len(missing):,} of {len(files):,} are missing); "
            "give their folder by --folder, or take their lines out of the table"
        )
    check_attributes(table.values, table.names)
    return dict(zip(map(str, files), table.values.tolist(), strict=True))


def _apply(arguments: argparse.Namespace) -> None:
    """Write the changed pictures, each with a strip of strengths from -1 to 1."""
    from glow_app.generation import edit, load_direction
    from glow_app.models.class_labels import class_facts
    from glow_app.pictures.images import grid, save_png, to_pil

    model = load(arguments)
    direction = load_direction(arguments.direction, model, *directions_folders(arguments))
    folder = Path(arguments.output)
    sources = picture_files(arguments.images)
    # Numbered, because pictures of different folders may share a name.
    names = [f"{number:03d}_{Path(source).stem}_{arguments.direction}" for number, source in enumerate(sources)]
    refuse_existing([folder / f"{name}{end}" for name in names for end in (".png", "_strip.png")], arguments.overwrite)
    facts = {"direction": arguments.direction, **made_by(arguments)}
    texts = [f"{strength:+g}" if strength else "0" for strength in STRENGTHS]
    classes = PictureClasses(model, arguments.label)
    planned, count = iter(zip(sources, names, strict=True)), 0
    for files, image in picture_batches(model, arguments.images, 1, "editing"):
        label = classes.of(image, files)
        name = next(name for source, name in planned if source == files[0])  # skips unreadable pictures
        picture, strip = output_folder(arguments) / f"{name}.png", folder / f"{name}_strip.png"
        picture_facts = facts | ({} if label is None else class_facts(model, int(label)))
        changed = edit(model, image, [(direction, [arguments.strength, *STRENGTHS])], label)
        save_png(to_pil(changed[0]), picture, {**picture_facts, "strength": arguments.strength})
        shown = grid(changed[1:], columns=len(STRENGTHS), above=texts)
        save_png(shown, strip, {**picture_facts, "strength": ", ".join(texts)})
        if len(sources) <= LISTED:
            print(printable(f"{picture}, {strip}"))
        count += 1
    classes.report()
    if len(sources) > LISTED:
        print(f"{pluralise(count, 'picture')}, each with a strip: {folder}")
