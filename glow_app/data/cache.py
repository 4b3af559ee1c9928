"""Disk cache of decoded image folders."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from glow_app.data.bulk import Chunk, decode_listing
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize
from glow_app.data.unfinished import built_folder
from glow_app.files import atomic_file

logger = logging.getLogger(__name__)

CACHE_VERSION = 1
_Shape = tuple[int, int, int]
_IMAGES, _MANIFEST = "images.bin", "manifest.json"
_REPLACED = (_IMAGES, _MANIFEST, "images.npy")  # earlier versions wrote images.npy
_Read = Callable[..., Iterable[Chunk[np.ndarray]]]


@dataclass(frozen=True)
class DecodedFolder:
    """Decoded images of one shape.

    Args:
        images: uint8 (N, C, H, W); a memory map if read from the cache.
        names: Relative names of their files, N.
        skipped: Name and reason for each file that could not be read.
        unread: As for :class:`~glow_app.data.bulk.Chunk`.
    """

    images: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    unread: tuple[str, ...] = ()


def cache_folder(cache_dir: Path | None) -> Path:
    """Return ``cache_dir``, or by default ``$GLOW_CACHE`` or ``~/.cache/glow/folders``."""
    return Path(cache_dir or os.environ.get("GLOW_CACHE") or "~/.cache/glow/folders").expanduser()


def decoded_folder(
    listing: FolderListing, image_shape: _Shape, resize: Resize, cache_dir: Path | None
) -> DecodedFolder:
    """Return a folder's decoded images from the cache; decode them first if needed.

    Args:
        listing: Files of the folder.
        image_shape: Wanted (C, H, W).
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
        cache_dir: As for :func:`cache_folder`.
    Raises:
        ValueError: If no file can be read.
    """
    entry = cache_folder(cache_dir) / cache_key(listing, image_shape, resize)
    facts = {"root": str(listing.root.resolve())}  # for people who clear the cache
    decoded = kept_images(entry, image_shape, facts, _decoded, listing, image_shape, resize)
    if decoded.skipped:  # repeated when the images come from the cache
        warnings.warn(skipped_message(listing, decoded.skipped), stacklevel=2)
    return decoded


def cache_key(listing: FolderListing, image_shape: _Shape, resize: Resize) -> str:
    """Return a digest of the folder's path, the names, sizes and times of its files, and how they are decoded."""
    # The path matters: archives often unpack with a constant time, so two folders of BMPs could otherwise share a key.
    files = sorted((file.name, file.size, file.mtime_ns) for file in listing.files)
    content = [CACHE_VERSION, str(listing.root.resolve()), list(image_shape), resize, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def kept_images(
    entry: Path, image_shape: _Shape, facts: Mapping[str, object], read: _Read, *arguments: object
) -> DecodedFolder:
    """Return the images of a cache entry; build it first if it is missing, damaged or out of date.

    An entry consists of ``images.bin``, the bytes of all images, and ``manifest.json``; it appears atomically. It is
    out of date once any of its unread files can be read, which may change neither the file's size and time nor,
    therefore, the entry's name. If the cache cannot be written, the images stay in memory, with a warning.

    Args:
        entry: Directory of the entry.
        image_shape: (C, H, W) of each image.
        facts: Further content of the manifest.
        read: Yields the images of a new entry in chunks.
        arguments: Arguments of ``read``; hashable.
    """
    kept = read_entry(entry, image_shape)
    if kept is not None and not any(map(_is_readable, kept.unread)):
        return kept
    try:
        return _build_entry(entry, image_shape, facts, read(*arguments))
    except OSError as error:  # from the cache: decoding errors are recorded, not raised
        warnings.warn(
            f"cannot write the image cache ({error}); the images stay in memory, for this process only; "
            "set data.cache_dir",
            stacklevel=3,
        )
        return _in_memory(read, *arguments)


def read_entry(entry: Path, image_shape: _Shape) -> DecodedFolder | None:
    """Return the images of a cache entry, each of shape (C, H, W); None if the entry is missing or damaged."""
    if not (entry / _IMAGES).exists():  # entries of earlier versions have none
        return None
    try:
        manifest = json.loads((entry / _MANIFEST).read_text("utf-8"))
        names = tuple(manifest["files"])
        skipped = tuple((name, reason) for name, reason in manifest["skipped"])
        unread = tuple(manifest.get("unread", ()))  # earlier versions have none
        images = np.memmap(entry / _IMAGES, np.uint8, "r", shape=(len(names), *image_shape))
        if images.nbytes != (entry / _IMAGES).stat().st_size:
            raise ValueError(f"the manifest names {len(names)} images")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        logger.warning("image cache entry %s is damaged (%s); building it anew", entry, error)
        return None
    return DecodedFolder(images, names, skipped, unread)


def _build_entry(
    entry: Path, image_shape: _Shape, facts: Mapping[str, object], chunks: Iterable[Chunk[np.ndarray]]
) -> DecodedFolder:
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    unread: list[str] = []
    try:
        with built_folder(entry, _REPLACED, lambda _: True, overwrite=entry.exists()) as building:
            with atomic_file(building / _IMAGES) as file:
                for chunk in chunks:
                    file.writelines(image.tobytes() for image in chunk.values)
                    names += chunk.names
                    skipped += chunk.skipped
                    unread += chunk.unread
            manifest = {**facts, "files": names, "skipped": skipped, "unread": unread}
            (building / _MANIFEST).write_text(json.dumps(manifest), "utf-8")
    except OSError:
        if read_entry(entry, image_shape) is None:  # otherwise another process built it
            raise
    built = read_entry(entry, image_shape)
    if built is None:
        raise OSError(f"{entry} cannot be read back")
    return built


def _is_readable(path: str) -> bool:
    try:
        return bool(Path(path).read_bytes())
    except OSError:
        return False


# Cached because all splits share their images; a changed folder has another listing, so it is read again.
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
    """Return a message with the number of skipped files and the names of the first."""
    first = "; ".join(f"{name} ({reason})" for name, reason in skipped[:3])
    more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    total = len(listing.files)
    return f"{len(skipped)} of {total} files in {listing.root} are left out: {first}{more}"
