"""List the image files of a folder in an order that is the same on every machine."""

import mimetypes
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from glow_app.data.decoding import HEIC_EXTRA, HEIC_SUFFIXES, can_read_heic, open_image, readable_formats
from glow_app.data.splits import Split, named_splits
from glow_app.messages import pluralise

_RUN_FILES = {"config.yaml", "metrics.csv"}  # in the folder of a training run, whose sample grids are not training data
_SHEETS = ("grid.png", "strip.png", "comparison.png", "oddest.png", "neighbours.png")  # ends of names


@dataclass(frozen=True)
class ImageFile:
    """A file: POSIX path relative to the listed folder, size in bytes, modification time in nanoseconds."""

    name: str
    size: int
    mtime_ns: int

    @property
    def class_name(self) -> str | None:
        """First-level directory; None for a file at the top level."""
        head, slash, _ = self.name.partition("/")
        return head if slash else None


@dataclass(frozen=True)
class FolderListing:
    """The image files below a folder, sorted by relative path."""

    root: Path
    files: tuple[ImageFile, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """First-level directories if all images are inside one; otherwise empty, and the folder is unlabelled."""
        names = {file.class_name for file in self.files}
        return () if None in names else tuple(sorted(name for name in names if name is not None))

    @property
    def names(self) -> list[str]:
        """The relative names of the files."""
        return [file.name for file in self.files]

    def below(self, directory: str) -> "FolderListing":
        """Return the listing of one first-level directory."""
        files = [
            replace(file, name=file.name.removeprefix(f"{directory}/"))
            for file in self.files
            if file.class_name == directory
        ]
        return FolderListing(self.root / directory, tuple(files))


def require_folder(root: Path) -> None:
    """Raise FileNotFoundError if a folder does not exist, and ValueError if it is a file."""
    if not root.exists():
        raise FileNotFoundError(f"image folder {root} does not exist")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; expected a folder of images")


def list_images(root: Path) -> FolderListing:
    """List the image files below a folder at any depth; links are followed, but to no folder twice.

    Hidden files and folders are skipped, and so are sheets of several pictures that a command wrote beside them.
    Folders of training runs, images of unsupported formats and folders that cannot be listed are skipped with a
    warning.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If it is not a folder, or has no image files.
    """
    require_folder(root)
    unsupported: Counter[str] = Counter()
    runs: list[str] = []
    files = tuple(sorted(_walk(root, unsupported, runs), key=lambda file: file.name))
    if runs:
        warnings.warn(f"skipped {pluralise(len(runs), 'training run')} in {root}: {min(runs)}", stacklevel=2)
    kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in unsupported.most_common())
    remedy = "convert them to JPEG or PNG" + (f", or {HEIC_EXTRA}" if HEIC_SUFFIXES & unsupported.keys() else "")
    if not files:
        others = f"; it contains {kinds}, which are not supported; {remedy}" if unsupported else ""
        raise ValueError(
            f"no image files in {root}; expected files such as png or jpg in it or its subfolders{others} (glow fit "
            "--data.source datasets reads Parquet, tar and Arrow files)"
        )
    if unsupported:
        warnings.warn(f"{root} also contains images of unsupported formats: {kinds}; {remedy}", stacklevel=2)
    return FolderListing(root, files)


def split_layout(listing: FolderListing) -> dict[Split, FolderListing]:
    """Return the listing of each split that has its own directory; if none has, the whole listing as "train".

    Directories of splits are named as in :data:`~glow_app.data.splits.SPLIT_NAMES`, in any case. A training directory
    alone counts as a split only if there is nothing beside it. Warns of ignored images and directories, and of images
    that prevent directories from being classes.
    """
    folders = {file.class_name for file in listing.files if file.class_name is not None}
    num_loose = sum(file.class_name is None for file in listing.files)
    loose = [pluralise(num_loose, "picture")] if num_loose else []
    splits = named_splits(folders)
    others = sorted(folders.difference(splits.values()))
    if "train" not in splits or (len(splits) == 1 and (loose or others)):
        if loose and len(folders) > 1:
            warnings.warn(f"{listing.root} is unlabelled: it has {loose[0]} outside its folders", stacklevel=2)
        return {"train": listing}
    if ignored := loose + others:
        warnings.warn(f"{listing.root} has splits; ignored beside them: {', '.join(ignored)}", stacklevel=2)
    return {split: listing.below(name) for split, name in splits.items()}


def all_class_names(parts: Mapping[Split, FolderListing]) -> tuple[str, ...]:
    """Return the sorted union of the classes of all splits."""
    return tuple(sorted({name for part in parts.values() for name in part.class_names}))


def _walk(root: Path, unsupported: Counter[str], runs: list[str]) -> Iterator[ImageFile]:
    """Yield the image files; count the suffixes of unsupported formats, and collect the folders of training runs."""
    suffixes = {*readable_formats(), *(HEIC_SUFFIXES if can_read_heic() else ())}
    visited: set[str] = set()  # real paths, so that links are followed to no folder twice

    def warn(error: OSError) -> None:
        warnings.warn(f"skipped a folder that cannot be listed: {error}", stacklevel=5)

    for directory, folders, names in os.walk(root, onerror=warn, followlinks=True):
        folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
        is_run = Path(directory) != root and set(names) >= _RUN_FILES
        if is_run:
            runs.append(directory)
        if is_run or (real := os.path.realpath(directory)) in visited:
            folders.clear()
            continue
        visited.add(real)
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in suffixes and not (name.endswith(_SHEETS) and _has_model(Path(directory, name))):
                yield _image_file(Path(directory, name), root)
            elif suffix not in suffixes and (mimetypes.guess_type(name)[0] or "").startswith("image/"):
                unsupported[suffix] += 1


def _has_model(path: Path) -> bool:
    """Return whether the metadata of a PNG names a model, as those of all results do."""
    with suppress(OSError, ValueError, SyntaxError), open_image(path, ["PNG"]) as picture:
        return "model" in picture.info
    return False


def _image_file(path: Path, root: Path) -> ImageFile:
    name = path.relative_to(root).as_posix()
    try:
        status = path.stat()
    except OSError:  # a dangling link; listed so that decoding reports it
        return ImageFile(name, -1, 0)
    return ImageFile(name, status.st_size, status.st_mtime_ns)
