"""Parquet files with a column of image files as shards, as on the Hugging Face hub."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glow_app.data.sharded_images import RecordFile, Shard, ShardError
from glow_app.data.shards.addresses import is_address, open_address, patiently
from glow_app.data.shards.shard_cache import ShardCache

if TYPE_CHECKING:
    from datasets import Features

_ROWS = 8  # decoded at a time
_THREADS = 16
# Limits in bytes and as a ratio: images hardly compress further, but a small file can repeat an image a million times.
_UNPACKED, _UNPACKED_TIMES = 2**26, 50


def parquet_shard(file: str, count: int, column: str, cache: ShardCache) -> Shard:
    """Return a shard for a column of a Parquet file; its images are extracted to the cache for random access."""
    return Shard(file, count, "its file at the source may be damaged", partial(_open, file, column, cache))


def _open(file: str, column: str, cache: ShardCache) -> RecordFile:
    return cache.use(f"{_version(file)} {column}", partial(write_records, file, column), open_records)


class Table(NamedTuple):
    """Metadata of Parquet files: images per file, labels, class names and name of the image column."""

    counts: list[int]
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_column: str


def read_table(files: Sequence[str], cache: ShardCache, features: "Features | None" = None) -> Table:
    """Return the table of several files; it is cached, so that only the first process reads the files.

    Images come from the first image column, labels from the first column of class labels.

    Args:
        files: Paths or addresses.
        cache: Cache of the shards; the table is stored in a subfolder.
        features: Types of the columns; read from the files if omitted.
    Raises:
        ShardError: If the files have no images, or differ in their columns.
    """
    tables = ShardCache(cache.folder / "tables", 1 << 62)
    key = " ".join([f"table {features}", *(_version(file) for file in files)])
    return tables.use(key, lambda path: _write_table(files, features, path), _open_table)


@patiently
def write_records(file: str, column: str, path: Path) -> None:
    """Write the images of a Parquet file one after the other, then their offsets and their number as int64."""
    from pyarrow import parquet

    offsets = [0]
    with open_address(file) as source, path.open("wb") as target:
        size = source.size
        max_bytes = max(_UNPACKED, _UNPACKED_TIMES * size)
        table = parquet.ParquetFile(source)
        if _unpacked_size(table.metadata, column) > max_bytes:
            raise _too_large(file, max_bytes)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[column]):
            if offsets[-1] + batch.nbytes > max_bytes:
                raise _too_large(file, max_bytes)
            for image in batch.column(0).to_pylist():
                if image and image["bytes"] is None and image["path"]:
                    raise ShardError(f"{file} holds the paths of images, such as {image['path']}, and not their bytes")
                content = image["bytes"] if image and image["bytes"] else b""
                offsets.append(offsets[-1] + len(content))
                if offsets[-1] > max_bytes:
                    raise _too_large(file, max_bytes)
                target.write(content)
            _check_rows(file, len(offsets) - 1, size)
        target.write(np.array([*offsets, len(offsets) - 1], dtype="<i8").tobytes())


def open_records(path: Path) -> RecordFile:
    """Open a file that :func:`write_records` wrote.

    Raises:
        FileNotFoundError: If the file is missing, or damaged and therefore removed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        count = int.from_bytes(file.read(8), "little")
        if 0 < 8 * (count + 2) <= size:
            file.seek(size - 8 * (count + 2))
            offsets = np.frombuffer(file.read(8 * (count + 1)), dtype="<i8")
        else:
            offsets = np.array([-1])
    if offsets[-1] + 8 * (count + 2) != size:
        path.unlink()
        raise FileNotFoundError(path)
    return RecordFile(path, offsets[:-1], np.diff(offsets))


def _write_table(files: Sequence[str], features: "Features | None", path: Path) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = list(pool.map(lambda file: _read_labels(file, features), files))
    columns = parts[0][0]
    for file, (columns_of_file, _) in zip(files, parts, strict=True):
        if columns_of_file != columns:
            raise ShardError(f"{file} has {columns_of_file}, and {files[0]} {columns}; expected the same in all files")
    head = {"counts": [len(labels) for _, labels in parts], **columns._asdict()}
    with path.open("wb") as target:
        labels = np.concatenate([labels for _, labels in parts])
        np.savez(target, head=np.frombuffer(json.dumps(head).encode(), np.uint8), labels=labels)


def _open_table(path: Path) -> Table:
    with np.load(path) as content:
        head = json.loads(content["head"].tobytes())
        return Table(head["counts"], content["labels"], tuple(head["class_names"]), head["image_column"])


class _Columns(NamedTuple):
    image_column: str
    label_column: str | None
    class_names: list[str]

    def __str__(self) -> str:
        classes = (
            f"{len(self.class_names)} classes in column {self.label_column}" if self.label_column else "no classes"
        )
        return f"images in column {self.image_column} and {classes}"


@patiently
def _read_labels(file: str, features: "Features | None") -> tuple[_Columns, np.ndarray]:
    """Return the columns of a file and its labels, -1 for missing ones."""
    from datasets import ClassLabel, Features, Image
    from pyarrow import parquet, types

    with open_address(file) as source:
        size = source.size
        table = parquet.ParquetFile(source)
        _check_rows(file, table.metadata.num_rows, size)
        declared = features or Features.from_arrow_schema(table.schema_arrow)
        present = {name: feature for name, feature in declared.items() if name in table.schema_arrow.names}
        image = next((name for name, feature in present.items() if isinstance(feature, Image)), None)
        if image is None:
            raise ShardError(f"{file} has no column of images, only {', '.join(present)}")
        label = next((name for name, feature in present.items() if isinstance(feature, ClassLabel)), None)
        if label is None:
            return _Columns(image, None, []), np.zeros(table.metadata.num_rows, dtype=np.int64)
        label_type = table.schema_arrow.field(label).type
        if not types.is_integer(label_type):
            raise ShardError(f"{file} has labels of type {label_type} in column {label}; expected whole numbers")
        labels: list[np.ndarray] = []
        for batch in table.iter_batches(columns=[label]):  # rows are counted, because num_rows may be wrong
            labels.append(batch.column(0).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))
            _check_rows(file, sum(map(len, labels)), size)
        return _Columns(image, label, list(present[label].names)), np.concatenate([*labels, np.empty(0, np.int64)])


def _unpacked_size(metadata: Any, column: str) -> int:
    """Return the uncompressed bytes of a column according to the metadata."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)


def _too_large(file: str, max_bytes: int) -> ShardError:
    return ShardError(f"{file} holds more than {max_bytes:,} bytes of images, {_UNPACKED_TIMES} times its size")


def _check_rows(file: str, rows: int, size: int) -> None:
    if rows > size:
        raise ShardError(f"{file} has at least {rows:,} rows in {size:,} bytes; expected images, each of many bytes")


def _version(file: str) -> str:
    """Return a key that changes with the file's content; addresses on the hub contain the commit."""
    if is_address(file):
        return file
    status = Path(file).stat()
    return f"{file} {status.st_size} {status.st_mtime_ns}"
