"""Read the idx files of the MNIST family, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np

MOST_UNPACKED = 1 << 30  # bytes; the largest file of the family has 550 MB
MOST_LABELS = 1 << 24  # eight bytes each in memory
_PIECE = 1 << 20


def find_idx(folder: Path, name: str) -> Path | None:
    """Return ``name`` or ``name.gz`` in a folder, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image file (idx3) and its label file (idx1).

    Shape:
        uint8 (N, H, W) and int64 (N,).
    Raises:
        ValueError: If a file is damaged or the two do not belong together.
    """
    pixels, classes = _read(images, 3, MOST_UNPACKED), _read(labels, 1, MOST_LABELS)
    if len(pixels) != len(classes):
        raise ValueError(f"{images} has {len(pixels)} images but {labels.name} {len(classes)} labels; fetch them again")
    return pixels, classes.astype(np.int64)


def _read(path: Path, num_dimensions: int, most: int) -> np.ndarray:
    try:
        content = bytearray()
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # In pieces, because read(n) allocates n bytes at once, however short the file is.
            while len(content) <= most and (piece := file.read(_PIECE)):
                content += piece
        if len(content) > most:
            raise ValueError(f"it holds more than {most:,} bytes")
        magic, *shape = np.frombuffer(content, ">u4", 1 + num_dimensions).tolist()
        if magic != 0x800 + num_dimensions:  # unsigned bytes
            raise ValueError(f"it begins with {magic:#x} and not {0x800 + num_dimensions:#x}")
        return np.frombuffer(content, np.uint8, offset=4 * (1 + num_dimensions)).reshape(shape)
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is damaged or not an idx file ({error}); delete it and fetch it again") from error
