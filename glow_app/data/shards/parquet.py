"""Shards as Parquet files with a column of image files, as the Hugging Face hub keeps them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import fsspec
import numpy as np

from glow_app.data.shards.cache import ShardCache
from glow_app.data.shards.images import Shard, ShardError
from glow_app.data.shards.places import is_address, patiently
from glow_app.data.shards.records import RecordFile

__all__ = ["ParquetShard", "Table", "read_table"]

_ROWS = 256
_THREADS = 16


@dataclass(frozen=True)
class ParquetShard(Shard):
    """A Parquet file of images, kept in the cache in a form that can be read by the row.

    Args:
        name: Where it is: a path or an address.
        count: How many images it holds.
        column: Of the images.
        cache: Where it is kept.
    """

    name: str
    count: int
    column: str
    cache: ShardCache

    def open(self) -> RecordFile:
        """Return its images."""
        try:
            return self.cache.use(f"{_version(self.name)} {self.column}", self._fetch, open_records)
        except Exception as error:  # of the file system, of Parquet, of the disk
            raise ShardError(f"shard {self.name} cannot be had: {error}") from error

    def _fetch(self, path: Path) -> None:
        write_records(self.name, self.column, path)


class Table(NamedTuple):
    """What is known of Parquet files without reading an image: images a file, labels, classes, the image column."""

    counts: list[int]
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_column: str


def read_table(files: Sequence[str], cache: ShardCache) -> Table:
    """Return the table of some files; it is kept, so that all processes but the first only read it.

    The first column of images counts, and the first of class labels.

    Args:
        files: Paths or addresses.
        cache: Where it is kept, beside the shards.
    Raises:
        ShardError: If they have no images.
    """
    tables = ShardCache(cache.folder / "tables", 1 << 62)
    key = "table " + " ".join(_version(file) for file in files)
    return tables.use(key, lambda path: _write_table(files, path), _open_table)


@patiently
def write_records(file: str, column: str, path: Path) -> None:
    """Write the images of a Parquet file one after the other, then their offsets and their number, 8 bytes each."""
    from pyarrow import parquet

    offsets = [0]
    with fsspec.open(file, "rb") as source, path.open("wb") as target:
        for batch in parquet.ParquetFile(source).iter_batches(batch_size=_ROWS, columns=[column]):
            for image in batch.column(0).to_pylist():
                content = (image or {}).get("bytes") or b""
                target.write(content)
                offsets.append(offsets[-1] + len(content))
        target.write(np.array([*offsets, len(offsets) - 1], dtype="<i8").tobytes())


def open_records(path: Path) -> RecordFile:
    """Return what :func:`write_records` wrote."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        count = int.from_bytes(file.read(8), "little")
        file.seek(-8 * (count + 2), 2)
        offsets = np.frombuffer(file.read(8 * (count + 1)), dtype="<i8")
    return RecordFile(path, offsets[:-1], np.diff(offsets))


def _write_table(files: Sequence[str], path: Path) -> None:
    image_column, label_column, class_names = _columns(files[0])
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda file: _labels(file, label_column), files))
    head = {"counts": [len(part) for part in parts], "class_names": class_names, "image_column": image_column}
    with path.open("wb") as target:
        np.savez(target, head=np.frombuffer(json.dumps(head).encode(), np.uint8), labels=np.concatenate(parts))


def _open_table(path: Path) -> Table:
    with np.load(path) as content:
        head = json.loads(content["head"].tobytes())
        return Table(head["counts"], content["labels"], tuple(head["class_names"]), head["image_column"])


@patiently
def _columns(file: str) -> tuple[str, str | None, list[str]]:
    """Return the image column, the label column, and the names of the classes."""
    from datasets import ClassLabel, Features, Image
    from pyarrow import parquet

    with fsspec.open(file, "rb") as source:
        features = Features.from_arrow_schema(parquet.ParquetFile(source).schema_arrow)
    image = next((name for name, feature in features.items() if isinstance(feature, Image)), None)
    if image is None:
        raise ShardError(f"{file} has no column of images, only {', '.join(features)}")
    label = next((name for name, feature in features.items() if isinstance(feature, ClassLabel)), None)
    return image, label, list(features[label].names) if label else []


@patiently
def _labels(file: str, column: str | None) -> np.ndarray:
    from pyarrow import parquet

    with fsspec.open(file, "rb") as source:
        found = parquet.ParquetFile(source)
        if column is None:
            return np.zeros(found.metadata.num_rows, dtype=np.int64)
        return found.read(columns=[column])[column].fill_null(-1).to_numpy().astype(np.int64)


def _version(file: str) -> str:
    """Return what changes with the file: an address on the hub holds its commit."""
    if is_address(file):
        return file
    status = Path(file).stat()
    return f"{file} {status.st_size} {status.st_mtime_ns}"
