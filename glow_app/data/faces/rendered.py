"""Many faces, rendered by all cores and kept on disk."""

import hashlib
import importlib.metadata
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from glow_app.data.bulk import can_fork, in_chunks
from glow_app.data.cache import build_entry, default_cache_dir, read_entry, write_array
from glow_app.data.faces.drawing import DRAWING_VERSION, render_face
from glow_app.data.faces.face import draw_face
from glow_app.progress import tracked

__all__ = ["face_chunks", "face_name", "rendered_faces"]

_PACKAGES = ("python-avatars", "resvg-py")
_CHUNK = 32
_WORTH_PROCESSES = 64
_WORTH_PROGRESS = 200


def face_name(index: int) -> str:
    """Return the file name of a face."""
    return f"{index:06d}.png"


def rendered_faces(seed: int, count: int, side: int, cache_dir: Path | None) -> np.ndarray:
    """Return at least ``count`` faces from the cache, rendering those that are not there yet.

    An entry is ``<cache_dir>/faces-<key>-<count>``, built beside its place and renamed, as those of folders are. A
    larger one serves a smaller request, and the faces of a smaller one are copied into a larger one. Where the cache
    cannot be written, the images stay in memory, with a warning.

    Args:
        seed: Seed of the set.
        count: How many faces.
        side: Height and width in pixels.
        cache_dir: Where the entries lie; :func:`~glow_app.data.cache.default_cache_dir` when None.
    Shape:
        uint8 (N, 3, side, side), N at least ``count``; a memory map, unless the cache cannot be written.
    Raises:
        ValueError: If a package is missing.
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir.expanduser()
    stem, shape = f"faces-{_key(seed, side)}", (3, side, side)
    done = np.empty((0, *shape), np.uint8)
    for number in sorted(_counts(folder, stem)):
        entry = read_entry(folder / f"{stem}-{number}", shape)
        if entry is not None and len(entry.images) >= count:
            return entry.images
        done = done if entry is None else entry.images

    def fill(path: Path) -> dict[str, object]:
        write_array(path, shape, count, _continued(done, seed, count, side))
        return {"seed": seed, "count": count, "files": [face_name(index) for index in range(count)], "skipped": []}

    try:
        return build_entry(folder / f"{stem}-{count}", shape, fill).images
    except OSError as error:
        warnings.warn(
            f"cannot write the image cache ({error}); rendering in memory, for this process only; set data.cache_dir",
            stacklevel=2,
        )
        return _in_memory(seed, count, side)


def face_chunks(seed: int, start: int, stop: int, side: int) -> Iterator[np.ndarray]:
    """Yield the faces from ``start`` to ``stop``, some at a time, in order; on a terminal with a progress bar.

    As many processes render as there are cores. They are forked; where forking is not the custom (anything but Linux)
    the caller's process does the work.

    Args:
        seed: Seed of the set.
        start: Index of the first face.
        stop: Index after the last one.
        side: Height and width in pixels.
    Shape:
        uint8 (n, 3, side, side).
    Raises:
        ValueError: If a package is missing.
    """
    count = stop - start
    if not count:
        return
    _key(seed, side)  # a missing package is named here, and not by a process that was forked
    processes = len(os.sched_getaffinity(0)) if count >= _WORTH_PROCESSES and can_fork() else 0
    chunks = in_chunks(_Faces(seed, start, stop, side), _CHUNK, processes)
    is_long = count > _WORTH_PROGRESS
    yield from tracked(chunks, -(-count // _CHUNK), f"rendering {count:,} faces") if is_long else chunks


class _Faces(Dataset[np.ndarray]):
    def __init__(self, seed: int, start: int, stop: int, side: int) -> None:
        self.seed, self.start, self.stop, self.side = seed, start, stop, side

    def __len__(self) -> int:
        return self.stop - self.start

    def __getitem__(self, index: int) -> np.ndarray:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> np.ndarray:
        return np.stack([render_face(draw_face(self.seed, self.start + index), self.side) for index in indices])


def _key(seed: int, side: int) -> str:
    try:
        versions = [importlib.metadata.version(name) for name in _PACKAGES]
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"rendering faces needs {error.name}; run: pip install 'glow-app[faces]'") from error
    content = [DRAWING_VERSION, *versions, seed, side]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def _counts(folder: Path, stem: str) -> list[int]:
    found = [path.name.removeprefix(f"{stem}-") for path in folder.glob(f"{stem}-*")]
    return [int(number) for number in found if number.isdecimal()]


def _continued(done: np.ndarray, seed: int, count: int, side: int) -> Iterator[np.ndarray]:
    for start in range(0, len(done), _CHUNK):
        yield done[start : start + _CHUNK]
    yield from face_chunks(seed, len(done), count, side)


# Several splits ask for the same faces.
@lru_cache(maxsize=2)
def _in_memory(seed: int, count: int, side: int) -> np.ndarray:
    return np.concatenate(list(face_chunks(seed, 0, count, side)))
