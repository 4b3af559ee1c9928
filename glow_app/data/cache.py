"""Decoded image folders kept on disk, so that no folder is decoded twice."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from glow_app.data.bulk import decode_listing
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize

logger = logging.getLogger(__name__)

CACHE_VERSION = 1
_Shape = tuple[int, int, int]
_Images = Sequence[np.ndarray] | np.ndarray


@dataclass(frozen=True)
class DecodedFolder:
    """A folder's images at one shape.

    ``images`` is uint8 (N, C, H, W), a memory map when it comes from the cache; ``names`` the N relative file names;
    ``skipped`` pairs of file and reason for what could not be read.
    """

    images: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def default_cache_dir() -> Path:
    """Return ``$GLOW_CACHE``, or ``~/.cache/glow/folders``."""
    return Path(os.environ.get("GLOW_CACHE") or "~/.cache/glow/folders").expanduser()


def decoded_folder(
    listing: FolderListing, image_shape: _Shape, resize: Resize, cache_dir: Path | None
) -> DecodedFolder:
    """Return a folder's decoded images from the cache, decoding them first where needed.

    An entry is ``<cache_dir>/<key>/images.npy`` beside ``manifest.json``. It is built in a directory of its own and
    renamed, so that a reader never sees half an entry, and two builders do not disturb each other. A damaged entry
    is built anew. Where the cache cannot be written, the images stay in memory, with a warning.

    Args:
        listing: Files of the folder.
        image_shape: Wanted (C, H, W).
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
        cache_dir: Where the entries lie; :func:`default_cache_dir` when None.
    Raises:
        ValueError: If not one of the files can be read.
    """
    cache_dir = default_cache_dir() if cache_dir is None else cache_dir.expanduser()
    entry = cache_dir / cache_key(listing, image_shape, resize)
    found = read_entry(entry, image_shape)
    if found is None:
        try:
            found = build_entry(entry, image_shape, lambda path: _fill(path, listing, image_shape, resize))
        except OSError as error:  # decoding reports its own errors: this one is about the cache
            warnings.warn(
                f"cannot write the image cache ({error}); decoding in memory, for this process only; "
                "set data.cache_dir",
                stacklevel=2,
            )
            found = _decode_in_memory(listing, image_shape, resize)
    if found.skipped:  # told of the cache as well: a file that is broken stays broken
        warnings.warn(_skipped_message(listing, found.skipped), stacklevel=2)
    return found


def cache_key(listing: FolderListing, image_shape: _Shape, resize: Resize) -> str:
    """Return a digest of the folder's path, its files' names, sizes and times, and how they are decoded."""
    # Archives often unpack with one constant time: without the path, two such folders of BMPs could share a key.
    files = sorted((file.name, file.size, file.mtime_ns) for file in listing.files)
    content = [CACHE_VERSION, str(listing.root.resolve()), list(image_shape), resize, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def read_entry(entry: Path, image_shape: _Shape) -> DecodedFolder | None:
    """Return what an entry of the cache holds; None if it is not there or damaged.

    Args:
        entry: Its directory.
        image_shape: Of the images.
    """
    if not entry.exists():
        return None
    try:
        manifest = json.loads((entry / "manifest.json").read_text("utf-8"))
        images = np.load(entry / "images.npy", mmap_mode="r", allow_pickle=False)
        names = tuple(manifest["files"])
        skipped = tuple((name, reason) for name, reason in manifest["skipped"])
        whole = images.shape == (len(names), *image_shape) and images.dtype == np.uint8
        if not whole or manifest["count"] != len(names):
            raise ValueError(f"{images.dtype} {images.shape} where the manifest says {manifest['count']} images")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        logger.warning("image cache entry %s is damaged (%s); building it anew", entry, error)
        return None
    return DecodedFolder(images, names, skipped)


def build_entry(entry: Path, image_shape: _Shape, fill: Callable[[Path], dict[str, object]]) -> DecodedFolder:
    """Build an entry in a directory of its own, rename it to its place and return what it holds.

    Args:
        entry: Its directory.
        image_shape: Of the images.
        fill: Called with the path of the array to write; returns the manifest, with at least "count", "files" and
            "skipped".
    Raises:
        OSError: If the cache cannot be written.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its directories are closed to others, which would follow the entry into a shared cache.
    building = entry.parent / f".building-{uuid.uuid4().hex}"
    building.mkdir()
    try:
        manifest = fill(building / "images.npy")
        (building / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        _publish(building, entry, image_shape)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    built = read_entry(entry, image_shape)
    if built is None:
        raise OSError(f"{entry} cannot be read back")
    return built


def write_array(path: Path, image_shape: _Shape, most: int, chunks: Iterable[_Images]) -> None:
    """Write images as an array of NumPy while they come, chunk after chunk.

    Args:
        path: Of the file.
        image_shape: Of each image.
        most: How many there are at most.
        chunks: uint8 images, one chunk at a time.
    """
    count = 0
    with open(path, "wb") as file:
        start = _write_header(file, most, image_shape)
        for chunk in chunks:
            file.writelines(image.tobytes() for image in chunk)
            count += len(chunk)
        file.seek(0)
        # NumPy pads the header so that the first axis may change without moving the data.
        if _write_header(file, count, image_shape) != start:
            raise OSError(f"the header of {path} changed its length")
        file.flush()
        os.fsync(file.fileno())


def _fill(path: Path, listing: FolderListing, image_shape: _Shape, resize: Resize) -> dict[str, object]:
    names, skipped = _write_images(path, listing, image_shape, resize)
    _require_images(listing, names, skipped)
    return _manifest(listing, names, skipped, image_shape, resize)


def _write_images(
    path: Path, listing: FolderListing, image_shape: _Shape, resize: Resize
) -> tuple[list[str], list[tuple[str, str]]]:
    names: list[str] = []
    skipped: list[tuple[str, str]] = []

    def read() -> Iterator[list[np.ndarray]]:
        for chunk in decode_listing(listing, image_shape, resize):
            names.extend(chunk.names)
            skipped.extend(chunk.skipped)
            yield chunk.values

    write_array(path, image_shape, len(listing.files), read())
    return names, skipped


def _write_header(file: BinaryIO, count: int, image_shape: _Shape) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


def _manifest(
    listing: FolderListing,
    names: list[str],
    skipped: list[tuple[str, str]],
    image_shape: _Shape,
    resize: Resize,
) -> dict[str, object]:
    return {
        "version": CACHE_VERSION,
        "root": str(listing.root.resolve()),
        "image_shape": list(image_shape),
        "resize": resize,
        "count": len(names),
        "files": names,
        "labels": listing.labels(names),
        "class_names": list(listing.class_names),
        "skipped": skipped,
    }


def _publish(building: Path, entry: Path, image_shape: _Shape) -> None:
    for attempt in range(4):
        try:
            os.rename(building, entry)
            return
        except OSError:
            if read_entry(entry, image_shape) is not None:
                return  # another process was first
            if attempt == 3 or not entry.exists():
                raise
        damaged = building.with_suffix(f".damaged{attempt}")
        with contextlib.suppress(FileNotFoundError):  # another process is moving it away as well
            os.rename(entry, damaged)
        shutil.rmtree(damaged, ignore_errors=True)


# Several splits ask for the same folder; the listing's sizes and times make a changed folder a new key.
@lru_cache(maxsize=4)
def _decode_in_memory(listing: FolderListing, image_shape: _Shape, resize: Resize) -> DecodedFolder:
    chunks = list(decode_listing(listing, image_shape, resize))
    images = [image for chunk in chunks for image in chunk.values]
    names = [name for chunk in chunks for name in chunk.names]
    skipped = [pair for chunk in chunks for pair in chunk.skipped]
    _require_images(listing, names, skipped)
    return DecodedFolder(np.stack(images), tuple(names), tuple(skipped))


def _require_images(listing: FolderListing, names: list[str], skipped: list[tuple[str, str]]) -> None:
    if not names:
        raise ValueError(f"no readable image: {_skipped_message(listing, skipped)}")


def _skipped_message(listing: FolderListing, skipped: Sequence[tuple[str, str]]) -> str:
    first = "; ".join(f"{name} ({reason})" for name, reason in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    total = len(listing.files)
    return f"{len(skipped)} of {total} files in {listing.root} cannot be read and are left out: {first}{more}"
