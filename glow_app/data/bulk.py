"""Read or render many images, in order, with bounded memory."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from glow_app.data.decoding import decode_image
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize
from glow_app.progress import tracked

T = TypeVar("T")

_CHUNK_BYTES = 8 << 20
_CHUNK_FILES = 256
_WORTH_PROCESSES = 500
_WORTH_PROGRESS = 2000
_MOST_PROCESSES = 16


@dataclass(frozen=True)
class Chunk(Generic[T]):
    """Results for consecutive files.

    Args:
        values: Results for the readable files.
        names: Names of the readable files.
        skipped: Name and reason for each file that cannot be read.
        unread: Paths of the skipped files that the operating system did not read, for example for lack of permission or
            because of a disk error; a later attempt may succeed.
    """

    values: list[T] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def decode_listing(
    listing: FolderListing, image_shape: tuple[int, int, int], resize: Resize
) -> Iterator[Chunk[np.ndarray]]:
    """Decode all files of a listing to uint8 (C, H, W); errors are recorded as in :func:`read_listing`."""
    num_files = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // int(np.prod(image_shape))))
    decode = partial(decode_image, image_shape=image_shape, resize=resize)
    yield from read_listing(listing, decode, num_files, "decoding")


def read_listing(listing: FolderListing, read: Callable[[Path], T], num_files: int, doing: str) -> Iterator[Chunk[T]]:
    """Read all files of a listing, ``num_files`` per chunk; errors are recorded in the chunks, not raised.

    Args:
        listing: Files to read.
        read: Function of a file's path.
        num_files: Files per chunk.
        doing: Verb for the progress bar, such as "decoding".
    """
    count = len(listing.files)
    processes = _MOST_PROCESSES if count >= _WORTH_PROCESSES else 0
    shown = f"{doing} {count:,} images" if count > _WORTH_PROGRESS else None
    yield from in_chunks(partial(_read_files, listing, read), count, num_files, processes, shown)


def in_chunks(
    work: Callable[[range], Chunk[T]], count: int, size: int, processes: int, doing: str | None
) -> Iterator[Chunk[T]]:
    """Apply ``work`` to consecutive ranges of the indices below ``count``, and yield the results in order.

    Reading thousands of small files is bound by the Python interpreter, so processes help and threads do not. They are
    forked, as loader workers are; on systems other than Linux the calling process does the work.

    Args:
        work: Function of a range of indices.
        count: Number of indices.
        size: Indices per range.
        processes: Maximum number of processes to fork, at most one per core; 0 uses the calling process.
        doing: Label of the progress bar; None for no bar.
    """
    # A daemonic process, such as a loader worker, may not have children.
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    workers = min(processes, len(os.sched_getaffinity(0))) if processes and can_fork else 0
    parts: Any = [range(start, min(start + size, count)) for start in range(0, count, size)]
    chunks: DataLoader[Chunk[T]] = DataLoader(
        parts,
        batch_size=None,
        collate_fn=cast(Any, work),  # runs in the worker
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # otherwise a cache miss would advance the global one
    )
    yield from chunks if doing is None else tracked(chunks, len(chunks), doing)


def _end_with_parent(_: int) -> None:
    """Let Linux kill a worker whose parent is killed; otherwise it would wait forever to deliver its chunk."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _read_files(listing: FolderListing, read: Callable[[Path], T], indices: range) -> Chunk[T]:
    chunk: Chunk[T] = Chunk()
    for index in indices:
        name = listing.files[index].name
        try:
            chunk.values.append(read(listing.root / name))
        except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more for broken files
            reason = str(error).replace(str(listing.root / name), name)
            chunk.skipped.append((name, reason or type(error).__name__))
            if isinstance(error, OSError) and error.errno:  # Pillow's OSErrors for damaged files have no errno
                chunk.unread.append(str((listing.root / name).absolute()))
        else:
            chunk.names.append(name)
    return chunk
