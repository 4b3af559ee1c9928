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
    """Values of some consecutive files, the files' names, and pairs of file and reason for what cannot be read.

    ``unread`` holds the paths of those that the system did not read, for want of permission or by an error of a disk:
    what is wrong is not in the file, and may pass.
    """

    values: list[T] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def decode_listing(
    listing: FolderListing, image_shape: tuple[int, int, int], resize: Resize
) -> Iterator[Chunk[np.ndarray]]:
    """Decode all files of a listing to uint8 (C, H, W); errors as for :func:`read_listing`."""
    num_files = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // int(np.prod(image_shape))))
    decode = partial(decode_image, image_shape=image_shape, resize=resize)
    yield from read_listing(listing, decode, num_files, "decoding")


def read_listing(listing: FolderListing, read: Callable[[Path], T], num_files: int, doing: str) -> Iterator[Chunk[T]]:
    """Read all files of a listing, ``num_files`` per chunk; errors are recorded in the chunk, never raised.

    Args:
        listing: Files to read.
        read: Called with the path of each.
        num_files: Files per chunk.
        doing: What is done to them, for the progress on a terminal.
    """
    count = len(listing.files)
    processes = _MOST_PROCESSES if count >= _WORTH_PROCESSES else 0
    shown = f"{doing} {count:,} images" if count > _WORTH_PROGRESS else None
    yield from in_chunks(partial(_read_files, listing, read), count, num_files, processes, shown)


def in_chunks(
    work: Callable[[range], Chunk[T]], count: int, size: int, processes: int, doing: str | None
) -> Iterator[Chunk[T]]:
    """Yield what ``work`` returns for each ``size`` of the numbers below ``count``, in order.

    Thousands of small files are bound by Python itself, so processes help and threads do not. They are forked, as
    loader workers are; on systems other than Linux the caller's process does the work.

    Args:
        work: Called with consecutive numbers.
        count: How many numbers there are.
        size: Numbers per chunk.
        processes: The most processes to fork, at most one per core; 0 for the caller's own.
        doing: Shown with the progress on a terminal; None shows nothing.
    """
    # A daemonic process, such as a loader worker, may not have children.
    can_fork = sys.platform == "linux" and not multiprocessing.current_process().daemon
    workers = min(processes, len(os.sched_getaffinity(0))) if processes and can_fork else 0
    parts: Any = [range(start, min(start + size, count)) for start in range(0, count, size)]
    chunks: DataLoader[Chunk[T]] = DataLoader(
        parts,
        batch_size=None,
        collate_fn=cast(Any, work),  # called with each part, in the worker
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # the global one must not depend on whether the cache was there
    )
    yield from chunks if doing is None else tracked(chunks, len(chunks), doing)


def _end_with_parent(_: int) -> None:
    """Let Linux end a worker when its parent is killed: otherwise it waits forever to hand over its chunk."""
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
            if isinstance(error, OSError) and error.errno:  # Pillow's own, of a damaged file, have no number
                chunk.unread.append(str((listing.root / name).absolute()))
        else:
            chunk.names.append(name)
    return chunk
