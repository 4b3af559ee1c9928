"""The MNIST family's idx files, plain or gzipped, through torchvision's reader."""

import gzip
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file

MOST_UNPACKED = 1 << 30  # bytes; the largest of the family has 550 MB
MOST_LABELS = 1 << 24  # each of which becomes eight bytes
PART = 1 << 20


def find_idx(folder: Path, name: str) -> Path | None:
    """Return ``name`` or ``name.gz`` in a folder, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx_pair(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Read an image file and its label file.

    Args:
        images: idx3 file, or its gzip.
        labels: idx1 file, or its gzip.
    Shape:
        uint8 (N, H, W) and int64 (N,).
    Raises:
        ValueError: If a file is damaged or the two do not belong together.
    """
    pixels, classes = _read(read_image_file, images, MOST_UNPACKED), _read(read_label_file, labels, MOST_LABELS)
    if len(pixels) != len(classes):
        raise ValueError(f"{images} has {len(pixels)} images but {labels.name} {len(classes)} labels; fetch them again")
    return pixels, classes


def _read(reader: Callable[[str], Tensor], path: Path, most: int) -> Tensor:
    too_large = ValueError(f"it holds more than {most:,} bytes")
    try:
        if path.suffix != ".gz":
            if path.stat().st_size > most:
                raise too_large
            return reader(str(path))
        # torchvision's reader opens plain files only.
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / path.stem
            with gzip.open(path) as packed, open(plain, "wb") as file:
                for _ in range(most // PART):
                    file.write(part := packed.read(PART))
                    if len(part) < PART:
                        break
                else:
                    raise too_large
            return reader(str(plain))
    except (
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        AssertionError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged or no idx file ({reason}); delete it and fetch it again") from error
