"""Pack folders of images into shards, check shards, and render faces."""

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.commands.parser import number, number_type, positive_int, seed_number
from glow_app.files import require_folder
from glow_app.messages import UsageError, pluralise, printable

if TYPE_CHECKING:
    from glow_app.data.shards.manifest import Manifest

LARGEST_SIDE = 8192
LARGEST_FACE = 2048
_PRESETS = {32: "folder32", 64: "folder", 128: "folder128", 256: "folder256"}  # by side of the packed images
_LEVELS = 3  # of folder32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``pack``, ``index``, ``verify`` and ``render`` with their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="pack|index|verify|render")
    pack = actions.add_parser("pack", help="write a folder of images as shards", description=_pack.__doc__)
    pack.add_argument("folder", help="images: flat, a subfolder per class, or train/ and test/", metavar="FOLDER")
    pack.add_argument("--output", required=True, help="folder for the shards; must not exist", metavar="FOLDER")
    size = "size to resize images to; one number for a square. The height comes first, unlike in glow sample --size"
    pack.add_argument("--size", type=_size, help=size, metavar="N|HEIGHTxWIDTH")
    pack.add_argument("--grey", action="store_true", help="convert to grey; needs --size")
    resize = "how images are resized; needs --size (default: crop)"
    pack.add_argument("--resize", choices=["crop", "stretch", "pad"], help=resize)
    pack.add_argument("--shard-mb", type=positive_int, default=128, help="approximate size of a shard in MB")
    pack.add_argument("--seed", type=seed_number, default=0, help="seed of the splits and the order")
    pack.add_argument("--validation-fraction", type=number, default=0.1, help="fraction held out if there is no val/")
    pack.add_argument("--test-fraction", type=number, default=0.1, help="fraction held out if there is no test/")
    pack.set_defaults(act=_pack)
    index = actions.add_parser("index", help="write the manifest of WebDataset tar files", description=_index.__doc__)
    index.add_argument("folder", help="folder of tar files", metavar="FOLDER")
    index.set_defaults(act=_index)
    verify = actions.add_parser("verify", help="compare shards with their manifest", description=_verify.__doc__)
    verify.add_argument("folder", help="folder of shards", metavar="FOLDER")
    verify.set_defaults(act=_verify)
    render = actions.add_parser("render", help="write a folder of rendered faces", description=_render.__doc__)
    render.add_argument("what", choices=["faces"], help="cartoon faces with attributes")
    render.add_argument(
        "--count", type=positive_int, default=1000, help="number of faces; a larger number only adds faces"
    )
    render.add_argument("--size", type=_face_side, default=64, help="height and width in pixels", metavar="N")
    render.add_argument("--seed", type=seed_number, default=0, help="seed; a face depends on it and on its number")
    render.add_argument("--output", required=True, help="output folder", metavar="FOLDER")
    render.add_argument("--overwrite", action="store_true", help="replace a folder of rendered faces")
    render.set_defaults(act=_render)


def run(arguments: argparse.Namespace) -> None:
    """Run the chosen action."""
    arguments.act(arguments)


def _pack(arguments: argparse.Namespace) -> None:
    """Write a folder of images as tar files in the layout of WebDataset, with a manifest of counts and hashes."""
    from glow_app.data.shards.pack import Packing, pack_folder

    for option in ("grey", "resize"):
        if getattr(arguments, option) and arguments.size is None:
            raise UsageError(f"--{option} needs --size: without it the files are packed as they are")
    require_folder(Path(arguments.output))
    packing = Packing(
        image_shape=None if arguments.size is None else (1 if arguments.grey else 3, *arguments.size),
        resize=arguments.resize or "crop",
        shard_bytes=1_000_000 * arguments.shard_mb,
        seed=arguments.seed,
        validation_fraction=arguments.validation_fraction,
        test_fraction=arguments.test_fraction,
    )
    report = pack_folder(Path(arguments.folder), Path(arguments.output), packing)
    for name, reason in report.skipped:
        print(printable(f"left out {name}: {reason}"))
    _print_counts(report.manifest)
    print(f"{report.num_bytes / 1e6:,.1f} MB in {arguments.output}")
    root = shlex.quote(arguments.output)
    print(f"train on them: glow fit {_model_options(report.manifest)} --data.source shards --data.root {root}")


def _model_options(manifest: "Manifest") -> str:
    """Return the preset for packed images, and their shape and number of levels if they are not the preset's.

    Images with an odd side fit no model; ``folder`` resizes them.
    """
    from glow_app.flows.multiscale import most_levels

    channels, height, width = shape = manifest.image_shape or (3, 64, 64)
    if channels == 3 and height == width and width in _PRESETS:
        return f"--config {_PRESETS[width]}"
    if (most := most_levels(height, width)) == 0:
        return "--config folder"
    levels = f" --model.flow.num_levels {most}" if most < _LEVELS else ""
    return f"--config folder32 --model.flow.image_shape '[{','.join(map(str, shape))}]'{levels}"


def _index(arguments: argparse.Namespace) -> None:
    """Write the manifest of existing tar files in the layout of WebDataset."""
    from glow_app.data.shards.check import index_folder

    _print_counts(index_folder(Path(arguments.folder)))


def _verify(arguments: argparse.Namespace) -> None:
    """Compare sizes and hashes of shards with their manifest."""
    from glow_app.data.shards.check import damaged_files
    from glow_app.data.shards.source import read_manifest

    damaged = list(damaged_files(arguments.folder))
    for line in damaged:
        print(printable(line))
    if damaged:
        raise ValueError(f"{len(damaged)} files in {arguments.folder} are damaged; put good copies in their place")
    _print_counts(read_manifest(arguments.folder))
    print("all are what the manifest says")


def _render(arguments: argparse.Namespace) -> None:
    """Write rendered faces as PNGs, and their attributes as a CSV."""
    from glow_app.data.faces.written import TABLE_NAME, write_faces

    folder = Path(arguments.output)
    require_folder(folder)
    write_faces(folder, arguments.seed, arguments.count, arguments.size, arguments.overwrite)
    print(f"{pluralise(arguments.count, 'face')} in {folder}, attributes in {folder / TABLE_NAME}")
    print(f"train on them: glow fit {shlex.quote(str(folder))}")


def _print_counts(manifest: "Manifest") -> None:
    for split, entry in manifest.splits.items():
        print(f"{split:<12} {entry.count:>10,} images in {pluralise(len(entry.shards), 'shard')}")
    if manifest.class_names:
        print(f"{len(manifest.class_names)} classes")


_face_side = number_type(
    int,
    f"is not a size of faces, which are square; expected 1 to {LARGEST_FACE}, such as 64",
    lambda side: 1 <= side <= LARGEST_FACE,
)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not 1 <= min(height, width) <= max(height, width) <= LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"{text} is not a size; expected one such as 64 or 48x64")
    return height, width
