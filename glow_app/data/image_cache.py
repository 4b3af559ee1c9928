"""Images that are read or rendered once, by several processes, and kept in memory-mapped files."""

import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from glow_app.data.listing import FolderListing
from glow_app.files import atomic_file
from glow_app.progress import tracked

_VERSION = 2
_MIN_CHUNKS, _MAX_PROCESSES = 8, 16  # for several processes
_NAMED = 10  # maximum number of unusable files in a message

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Chunk:
    """Images of consecutive files.

    Args:
        images: uint8 (C, H, W) each; those of a whole entry are a memory map, (N, C, H, W).
        names: Name of the file of each image.
        skipped: Name and reason for each file that cannot be read.
    """

    images: Any = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def cache_folder(cache_dir: Path | None) -> Path:
    """Return ``cache_dir``, or by default ``$GLOW_CACHE`` or ``~/.cache/glow/folders``."""
    return Path(cache_dir or os.environ.get("GLOW_CACHE") or "~/.cache/glow/folders").expanduser()


def folder_images(
    listing: FolderListing,
    image_shape: Shape,
    cache_dir: Path | None,
    read: Callable[[Path], np.ndarray],
    described: str,
    chunk_size: int,
) -> Chunk:
    """Return the images of a folder's files from the cache; read the files first if the folder has changed.

    Args:
        image_shape: (C, H, W) of every image.
        cache_dir: As for :func:`cache_folder`.
        read: Returns the images in a file, uint8 (n, C, H, W).
        described: What ``read`` does: part of the entry's name, and label of the progress bar.
        chunk_size: Files that a process reads at a time.
    Raises:
        ValueError: If no file can be read.
    """
    # The path matters: archives often unpack with a constant time, so two folders of BMPs could otherwise share a key.
    files = sorted((file.name, file.size, file.mtime_ns) for file in listing.files)
    content = [_VERSION, described, str(listing.root.resolve()), list(image_shape), files]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    doing = f"{described} ({len(files):,} files)"
    chunks = partial(in_chunks, partial(_read_files, listing, read), len(files), chunk_size, doing)
    images = cached(cache_folder(cache_dir) / key, image_shape, chunks)
    if images.skipped:  # repeated when the images come from the cache
        total = f"{len(images.skipped)} of {len(files)} files"
        warnings.warn(f"{total} in {listing.root} cannot be used: {_reasons(images.skipped)}", stacklevel=3)
    return images


def cached(entry: Path, image_shape: Shape, chunks: Callable[[], Iterable[Chunk]]) -> Chunk:
    """Return the images of a cache entry; write it first if it is missing or damaged.

    An entry is two files: ``ENTRY.bin``, the bytes of all images, and then ``ENTRY.json``.

    Args:
        entry: Path of the entry without a suffix.
        image_shape: (C, H, W) of every image.
    Raises:
        ValueError: If there are none.
        OSError: If the cache cannot be written.
    """
    if (kept := _read_entry(entry, image_shape)) is not None:
        return kept
    new = Chunk()
    try:
        with atomic_file(entry.with_suffix(".bin")) as file:
            for chunk in chunks():
                file.writelines(image.tobytes() for image in chunk.images)
                new.names.extend(chunk.names)
                new.skipped.extend(chunk.skipped)
            if not new.names:
                raise ValueError(f"no usable image: {_reasons(new.skipped)}")
        with atomic_file(entry.with_suffix(".json")) as file:
            file.write(json.dumps({"files": new.names, "skipped": new.skipped}).encode())
    except OSError as error:  # of reading, errors are recorded, not raised
        raise OSError(f"cannot write the image cache ({error}); set data.cache_dir or GLOW_CACHE") from error
    written = _read_entry(entry, image_shape)
    assert written is not None
    return written


def _read_entry(entry: Path, image_shape: Shape) -> Chunk | None:
    """Return the images of a cache entry, memory-mapped; None if it is missing or damaged."""
    try:
        facts = json.loads(entry.with_suffix(".json").read_text("utf-8"))
        images = np.memmap(entry.with_suffix(".bin"), np.uint8, "r", shape=(len(facts["files"]), *image_shape))
        is_whole = images.nbytes == entry.with_suffix(".bin").stat().st_size
    except (OSError, ValueError, KeyError):
        return None
    return Chunk(images, facts["files"], facts["skipped"]) if is_whole else None


def in_chunks(work: Callable[[range], Chunk], count: int, size: int, doing: str) -> Iterator[Chunk]:
    """Apply ``work`` to consecutive ranges of the indices below ``count``, and yield the results in order.

    Many ranges are divided among processes, at most one per core. Reading thousands of small files is bound by the
    Python interpreter, so threads would not help. The processes are forked, as loader workers are; on systems other
    than Linux the calling process does the work.
    """
    # A daemonic process, such as a loader worker, may not have children.
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    parts: Any = [range(start, min(start + size, count)) for start in range(0, count, size)]
    workers = min(_MAX_PROCESSES, len(os.sched_getaffinity(0))) if len(parts) >= _MIN_CHUNKS and can_fork else 0
    chunks: DataLoader[Chunk] = DataLoader(
        parts,
        batch_size=None,
        collate_fn=cast(Any, work),  # runs in the worker
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        # Linux kills a worker whose parent is killed (PR_SET_PDEATHSIG), or it would wait forever to deliver its chunk.
        worker_init_fn=lambda _: ctypes.CDLL(None).prctl(1, signal.SIGKILL),
        generator=torch.Generator(),  # otherwise a cache miss would advance the global one
    )
    yield from tracked(chunks, len(chunks), doing)


def _read_files(listing: FolderListing, read: Callable[[Path], np.ndarray], indices: range) -> Chunk:
    chunk = Chunk()
    for index in indices:
        name = listing.files[index].name
        try:
            images = read(listing.root / name)
        except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more for broken files
            reason = str(error).replace(str(listing.root / name), name)
            chunk.skipped.append((name, reason or type(error).__name__))
        else:
            chunk.images.extend(images)
            chunk.names.extend([name] * len(images))
    return chunk


def _reasons(skipped: list[tuple[str, str]]) -> str:
    more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
    return "; ".join(f"{name} ({reason})" for name, reason in skipped[:_NAMED]) + more
