"""Rendered faces, as a source that needs no download, and as a folder with a table of attributes."""

import csv
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from glow_app.data.attributes import TABLE_NAME, Kind
from glow_app.data.faces.drawing import DRAWING_VERSION, render_face
from glow_app.data.faces.face import BINARY_NAMES, REAL_NAMES, draw_face
from glow_app.data.image_cache import Chunk, cache_folder, cached, in_chunks
from glow_app.data.image_set import ImageSet, select_split
from glow_app.data.resizing import array_to_image
from glow_app.data.splits import SplitRequest
from glow_app.files import atomic_folder

_PACKAGES = ("python-avatars", "resvg-py")
_CHUNK_SIZE = 32

DEFAULT_COUNT = 10_000
# The data set is fixed like MNIST: the request's seed determines the splits, not the faces.
_SEED = 0

FACE_KINDS: dict[str, Kind] = {
    name: "yes_no" if name in BINARY_NAMES else "circular" if name == "clothes_hue" else "real"
    for name in (*BINARY_NAMES, *REAL_NAMES)
}


def load_faces(request: SplitRequest) -> ImageSet:
    """Load one split of the rendered faces.

    Each face is rendered once, in colour and square, at the longer side of the requested shape (the shorter one for
    ``resize="pad"``), and cached. Grey images and other aspect ratios are converted from these.

    Raises:
        ValueError: If a package is missing.
    """
    sides = request.image_shape[1:]
    side = min(sides) if request.resize == "pad" else max(sides)
    count = request.count or DEFAULT_COUNT
    if isinstance(request.attributes, Path):
        raise ValueError(f"rendered faces have attributes of their own; pass true instead of {request.attributes}")
    images = rendered_faces(_SEED, count, side, request.cache_dir)
    if request.attributes:
        return select_split(ImageSet(images, _attributes(count), attributes=FACE_KINDS), request)
    return select_split(ImageSet(images, torch.zeros(count, dtype=torch.int64)), request)


def rendered_faces(seed: int, count: int, side: int, cache_dir: Path | None) -> np.ndarray:
    """Return faces from the cache, ``<cache_dir>/faces-<key>-<count>``; render them if necessary.

    Shape:
        uint8 (count, 3, side, side), a memory map.
    Raises:
        ValueError: If a package is missing.
    """
    entry = cache_folder(cache_dir) / f"faces-{_key(seed, side)}-{count}"
    return cached(entry, (3, side, side), partial(face_chunks, seed, count, side)).images


@cache
def _attributes(count: int) -> torch.Tensor:
    """Return the attributes of the source's faces, float32 (count, A); kept, since 60,000 take half a minute."""
    return torch.tensor([[*draw_face(_SEED, index).attributes().values()] for index in range(count)])


def face_chunks(seed: int, count: int, side: int) -> Iterator[Chunk]:
    """Yield the faces ``range(count)`` in order, rendered by several processes if there are many.

    Shape:
        uint8 (3, side, side) for each face.
    Raises:
        ValueError: If a package is missing.
    """
    _key(seed, side)  # raises for a missing package here instead of in a forked process
    yield from in_chunks(partial(_render, seed, side), count, _CHUNK_SIZE, f"rendering {count:,} faces")


def _render(seed: int, side: int, indices: range) -> Chunk:
    return Chunk([render_face(draw_face(seed, index), side) for index in indices], [f"{i:06d}.png" for i in indices])


def _key(seed: int, side: int) -> str:
    try:
        versions = [importlib.metadata.version(name) for name in _PACKAGES]
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"rendering faces needs {error.name}; run: pip install 'glow-app[faces]'") from error
    content = [DRAWING_VERSION, *versions, seed, side]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def write_faces(folder: Path, seed: int, count: int, side: int) -> None:
    """Write square faces as PNGs, and their attributes as ``attributes.csv``, readable by :func:`read_attributes`.

    Raises:
        FileExistsError: If the folder exists and is not empty.
        ValueError: If a package is missing.
    """
    with (
        atomic_folder(folder, (), overwrite=True) as building,
        (building / TABLE_NAME).open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", *BINARY_NAMES, *REAL_NAMES])
        for chunk in face_chunks(seed, count, side):
            for name, image in zip(chunk.names, chunk.images, strict=True):
                array_to_image(image).save(building / name)
                values = draw_face(seed, int(Path(name).stem)).attributes().items()
                table.writerow([name, *(f"{v:g}" if key in BINARY_NAMES else f"{v:.4f}" for key, v in values)])
