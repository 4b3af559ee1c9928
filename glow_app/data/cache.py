"""Decoded image folders kept on disk, so that no folder is decoded twice."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from glow_app.data.bulk import Chunk, decode_listing
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize

logger = logging.getLogger(__name__)

CACHE_VERSION = 1
_Shape = tuple[int, int, int]
_Read = Callable[..., Iterable[Chunk[np.ndarray]]]


@dataclass(frozen=True)
class DecodedFolder:
    """Images of one shape.

    ``images`` is uint8 (N, C, H, W), a memory map when it comes from the cache; ``names`` the N relative file names;
    ``skipped`` pairs of file and reason for what could not be read.
    """

    images: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def cache_folder(cache_dir: Path | None) -> Path:
    """Return where caches lie: ``cache_dir``, or else ``$GLOW_CACHE`` or ``~/.cache/glow/folders``."""
    return Path(cache_dir or os.environ.get("GLOW_CACHE") or "~/.cache/glow/folders").expanduser()


def decoded_folder(
    listing: FolderListing, image_shape: _Shape, resize: Resize, cache_dir: Path | None
) -> DecodedFolder:
    """Return a folder's decoded images from the cache, decoding them first where needed.

    Args:
        listing: Files of the folder.
        image_shape: Wanted (C, H, W).
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
        cache_dir: As for :func:`cache_folder`.
    Raises:
        ValueError: If none of the files can be read.
    """
    entry = cache_folder(cache_dir) / cache_key(listing, image_shape, resize)
    facts = {
        "version": CACHE_VERSION,
        "root": str(listing.root.resolve()),
        "image_shape": list(image_shape),
        "resize": resize,
        "class_names": list(listing.class_names),
    }
    decoded = kept_images(entry, image_shape, len(listing.files), facts, _decoded, listing, image_shape, resize)
    if decoded.skipped:  # also from the cache: a broken file stays broken
        warnings.warn(skipped_message(listing, decoded.skipped), stacklevel=2)
    return decoded


def cache_key(listing: FolderListing, image_shape: _Shape, resize: Resize) -> str:
    """Return a digest of the folder's path, its files' names, sizes and times, and how they are decoded."""
    # Archives often unpack with one constant time: without the path, two such folders of BMPs could share a key.
    files = sorted((file.name, file.size, file.mtime_ns) for file in listing.files)
    content = [CACHE_VERSION, str(listing.root.resolve()), list(image_shape), resize, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def kept_images(
    entry: Path, image_shape: _Shape, most: int, facts: Mapping[str, object], read: _Read, *arguments: object
) -> DecodedFolder:
    """Return the images of an entry of the cache, building it first where it is missing or damaged.

    An entry is ``images.npy`` beside ``manifest.json``. It is built in a directory of its own and renamed, so that a
    reader never sees half an entry, and two builders do not disturb each other. Where the cache cannot be written,
    the images stay in memory, with a warning.

    Args:
        entry: Its directory.
        image_shape: (C, H, W) of each image.
        most: An upper bound of the number of images.
        facts: What else the manifest says.
        read: Yields the images of a new entry in chunks.
        arguments: For ``read``; hashable.
    """
    kept = read_entry(entry, image_shape)
    if kept is not None:
        return kept
    try:
        return _build_entry(entry, image_shape, most, facts, read(*arguments))
    except OSError as error:  # decoding reports its own errors: this one is about the cache
        warnings.warn(
            f"cannot write the image cache ({error}); the images stay in memory, for this process only; "
            "set data.cache_dir",
            stacklevel=3,
        )
        return _in_memory(read, *arguments)


def read_entry(entry: Path, image_shape: _Shape) -> DecodedFolder | None:
    """Return the images (C, H, W) of an entry of the cache; None if it is missing or damaged."""
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


def _build_entry(
    entry: Path, image_shape: _Shape, most: int, facts: Mapping[str, object], chunks: Iterable[Chunk[np.ndarray]]
) -> DecodedFolder:
    entry.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile: its directories are closed to others, which would follow the entry into a shared cache.
    building = entry.parent / f".building-{uuid.uuid4().hex}"
    building.mkdir()
    try:
        names, skipped = _write_images(building / "images.npy", image_shape, most, chunks)
        manifest = {**facts, "count": len(names), "files": names, "skipped": skipped}
        (building / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        _publish(building, entry, image_shape)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    built = read_entry(entry, image_shape)
    if built is None:
        raise OSError(f"{entry} cannot be read back")
    return built


def _write_images(
    path: Path, image_shape: _Shape, most: int, chunks: Iterable[Chunk[np.ndarray]]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Write images as an array of NumPy while they come; return the names and what was skipped."""
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    with open(path, "wb") as file:
        start = _write_header(file, most, image_shape)
        for chunk in chunks:
            file.writelines(image.tobytes() for image in chunk.values)
            names += chunk.names
            skipped += chunk.skipped
        file.seek(0)
        # NumPy pads the header so that the first axis may change without moving the data.
        if _write_header(file, len(names), image_shape) != start:
            raise OSError(f"the header of {path} changed its length")
        file.flush()
        os.fsync(file.fileno())
    return names, skipped


def _write_header(file: BinaryIO, count: int, image_shape: _Shape) -> int:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *image_shape)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.tell()


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


# Several splits ask for the same images; a changed folder has another listing.
@lru_cache(maxsize=4)
def _in_memory(read: _Read, *arguments: object) -> DecodedFolder:
    chunks = list(read(*arguments))
    images = [image for chunk in chunks for image in chunk.values]
    names = tuple(name for chunk in chunks for name in chunk.names)
    return DecodedFolder(np.stack(images), names, tuple(pair for chunk in chunks for pair in chunk.skipped))


def _decoded(listing: FolderListing, image_shape: _Shape, resize: Resize) -> Iterator[Chunk[np.ndarray]]:
    skipped: list[tuple[str, str]] = []
    for chunk in decode_listing(listing, image_shape, resize):
        skipped += chunk.skipped
        yield chunk
    if len(skipped) == len(listing.files):
        raise ValueError(f"no readable image: {skipped_message(listing, skipped)}")


def skipped_message(listing: FolderListing, skipped: Sequence[tuple[str, str]]) -> str:
    """Return a line that counts the files that cannot be read, and names the first of them."""
    first = "; ".join(f"{name} ({reason})" for name, reason in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    total = len(listing.files)
    return f"{len(skipped)} of {total} files in {listing.root} cannot be read and are left out: {first}{more}"
