"""Decode a whole folder, in order, with bounded memory."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from glow_app.data.decoding import decode_file
from glow_app.data.listing import FolderListing
from glow_app.data.request import Resize

_CHUNK_BYTES = 8 << 20
_WORTH_PROCESSES = 500
_WORTH_PROGRESS = 2000


@dataclass(frozen=True)
class DecodedChunk:
    """Some consecutive files of a listing.

    ``images`` is uint8 (n, C, H, W), ``names`` the n files they come from, ``skipped`` pairs of file and reason.
    """

    images: np.ndarray
    names: list[str]
    skipped: list[tuple[str, str]]


def decode_listing(listing: FolderListing, image_shape: tuple[int, int, int], resize: Resize) -> Iterator[DecodedChunk]:
    """Decode all files of a listing, chunk by chunk; what cannot be read is named in the chunk, never raised.

    Thousands of small files are bound by Python itself, so processes help and threads do not. They are forked, as
    loader workers are; where forking is not the custom (anything but Linux) the caller's process does the work.

    Args:
        listing: Files to decode.
        image_shape: Wanted (C, H, W).
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
    """
    count = len(listing.files)
    forked = count >= _WORTH_PROCESSES and _can_fork()
    chunks: DataLoader[DecodedChunk] = DataLoader(
        _Files(listing, image_shape, resize),
        batch_size=max(1, min(256, _CHUNK_BYTES // int(np.prod(image_shape)))),
        collate_fn=_as_is,
        num_workers=min(16, len(os.sched_getaffinity(0))) if forked else 0,
        multiprocessing_context="fork" if forked else None,
        generator=torch.Generator(),  # or a run that decodes would draw otherwise than one that finds the cache
    )
    if count <= _WORTH_PROGRESS or not sys.stderr.isatty():
        yield from chunks
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(chunks, f"decoding {count} images", total=len(chunks), console=Console(stderr=True))


def _can_fork() -> bool:
    # A daemonic process, such as a loader worker, may not have children.
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


def _as_is(chunk: Any) -> Any:
    return chunk


class _Files(Dataset[DecodedChunk]):
    def __init__(self, listing: FolderListing, image_shape: tuple[int, int, int], resize: Resize) -> None:
        self.listing, self.image_shape, self.resize = listing, image_shape, resize

    def __len__(self) -> int:
        return len(self.listing.files)

    def __getitem__(self, index: int) -> DecodedChunk:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> DecodedChunk:
        images = np.empty((len(indices), *self.image_shape), dtype=np.uint8)
        names: list[str] = []
        skipped: list[tuple[str, str]] = []
        for index in indices:
            name = self.listing.files[index].name
            try:
                images[len(names)] = decode_file(self.listing.root / name, self.image_shape, self.resize)
            except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error and more for broken files
                reason = str(error).replace(str(self.listing.root / name), name)
                skipped.append((name, f"{type(error).__name__}: {reason}"))
            else:
                names.append(name)
        return DecodedChunk(images[: len(names)], names, skipped)
