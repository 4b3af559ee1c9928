"""Read a whole folder, in order, with bounded memory."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from glow_app.data.decoding import decode_file
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize
from glow_app.progress import tracked

T = TypeVar("T")
C = TypeVar("C")

_CHUNK_BYTES = 8 << 20
_CHUNK_FILES = 256
_WORTH_PROCESSES = 500
_WORTH_PROGRESS = 2000


@dataclass(frozen=True)
class Chunk(Generic[T]):
    """Some consecutive files of a listing.

    ``values`` are what was read, ``names`` the files they come from, ``skipped`` pairs of file and reason.
    """

    values: list[T]
    names: list[str]
    skipped: list[tuple[str, str]]


def decode_listing(
    listing: FolderListing, image_shape: tuple[int, int, int], resize: Resize
) -> Iterator[Chunk[np.ndarray]]:
    """Decode all files of a listing, chunk by chunk; what cannot be read is named in the chunk, never raised.

    Args:
        listing: Files to decode.
        image_shape: Wanted (C, H, W).
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
    """
    num_files = max(1, min(_CHUNK_FILES, _CHUNK_BYTES // int(np.prod(image_shape))))
    yield from read_listing(listing, partial(_decode, image_shape=image_shape, resize=resize), num_files)


def read_listing(
    listing: FolderListing, read: Callable[[Path], T], num_files: int, doing: str = "decoding"
) -> Iterator[Chunk[T]]:
    """Read all files of a listing, chunk by chunk; what cannot be read is named in the chunk, never raised.

    Thousands of small files are bound by Python itself, so processes help and threads do not. They are forked, as
    loader workers are; where forking is not the custom (anything but Linux) the caller's process does the work.

    Args:
        listing: Files to read.
        read: Called with the path of each.
        num_files: Files a chunk.
        doing: What is done to them, for the progress on a terminal.
    """
    count = len(listing.files)
    forked = count >= _WORTH_PROCESSES and can_fork()
    processes = min(16, len(os.sched_getaffinity(0))) if forked else 0
    chunks = in_chunks(_Files(listing, read), num_files, processes)
    is_long = count > _WORTH_PROGRESS
    yield from tracked(chunks, -(-count // num_files), f"{doing} {count:,} images") if is_long else chunks


def in_chunks(items: Dataset[C], size: int, processes: int) -> Iterator[C]:
    """Yield what a data set returns for its indices, so many at a time, in order.

    Args:
        items: Returns one chunk for a list of indices.
        size: Indices a chunk.
        processes: Forked processes that do the work; 0 for the caller's own.
    """
    yield from DataLoader(
        items,
        batch_size=size,
        collate_fn=_as_is,
        num_workers=processes,
        multiprocessing_context="fork" if processes else None,
        worker_init_fn=_end_with_parent,
        generator=torch.Generator(),  # or a run that decodes would draw otherwise than one that finds the cache
    )


def _decode(path: Path, image_shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    return decode_file(path, image_shape, resize)


def can_fork() -> bool:
    """Return whether this process may fork others to do its work."""
    # A daemonic process, such as a loader worker, may not have children.
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _end_with_parent(_: int) -> None:
    """Let a worker end when its parent is killed: blocked in handing on what it read, it would wait for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _as_is(chunk: Any) -> Any:
    return chunk


class _Files(Dataset[Chunk[T]]):
    def __init__(self, listing: FolderListing, read: Callable[[Path], T]) -> None:
        self.listing, self.read = listing, read

    def __len__(self) -> int:
        return len(self.listing.files)

    def __getitem__(self, index: int) -> Chunk[T]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> Chunk[T]:
        chunk: Chunk[T] = Chunk([], [], [])
        for index in indices:
            name = self.listing.files[index].name
            try:
                chunk.values.append(self.read(self.listing.root / name))
            except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more for broken files
                reason = str(error).replace(str(self.listing.root / name), name)
                chunk.skipped.append((name, f"{type(error).__name__}: {reason}"))
            else:
                chunk.names.append(name)
        return chunk
