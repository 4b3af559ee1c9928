"""Shards as Parquet files with a column of image files, as the Hugging Face hub keeps them."""

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
# Images hardly shrink further, but a file can hold one of them a million times.
_UNPACKED, _UNPACKED_TIMES = 2**26, 50


def parquet_shard(file: str, count: int, column: str, cache: ShardCache) -> Shard:
    """Return a Parquet file with a column of images, kept in the cache in a form that can be read by the row."""
    return Shard(file, count, "its file at the source may be damaged", partial(_open, file, column, cache))


def _open(file: str, column: str, cache: ShardCache) -> RecordFile:
    return cache.use(f"{_version(file)} {column}", partial(write_records, file, column), open_records)


class Table(NamedTuple):
    """What is known of Parquet files without reading an image: images a file, labels, classes, the image column."""

    counts: list[int]
    labels: np.ndarray
    class_names: tuple[str, ...]
    image_column: str


def read_table(files: Sequence[str], cache: ShardCache, features: "Features | None" = None) -> Table:
    """Return the table of some files; it is kept, so that all processes but the first only read it.

    The first column of images counts, and the first of class labels.

    Args:
        files: Paths or addresses.
        cache: Of the shards; the table is kept beside them.
        features: The types of the columns; those that the files name when omitted.
    Raises:
        ShardError: If they have no images, or do not agree.
    """
    tables = ShardCache(cache.folder / "tables", 1 << 62)
    key = " ".join([f"table {features}", *(_version(file) for file in files)])
    return tables.use(key, lambda path: _write_table(files, features, path), _open_table)


@patiently
def write_records(file: str, column: str, path: Path) -> None:
    """Write the images of a Parquet file one after the other, then their offsets and their number, 8 bytes each."""
    from pyarrow import parquet

    offsets = [0]
    with open_address(file) as source, path.open("wb") as target:
        size = source.size
        most = max(_UNPACKED, _UNPACKED_TIMES * size)
        table = parquet.ParquetFile(source)
        if _unpacked_size(table.metadata, column) > most:
            raise _too_large(file, most)
        for batch in table.iter_batches(batch_size=_ROWS, columns=[column]):
            if offsets[-1] + batch.nbytes > most:
                raise _too_large(file, most)
            for image in batch.column(0).to_pylist():
                if image and image["bytes"] is None and image["path"]:
                    raise ShardError(f"{file} holds the paths of images, such as {image['path']}, and not their bytes")
                content = image["bytes"] if image and image["bytes"] else b""
                offsets.append(offsets[-1] + len(content))
                if offsets[-1] > most:
                    raise _too_large(file, most)
                target.write(content)
            _check_rows(file, len(offsets) - 1, size)
        target.write(np.array([*offsets, len(offsets) - 1], dtype="<i8").tobytes())


def open_records(path: Path) -> RecordFile:
    """Return what :func:`write_records` wrote.

    Raises:
        FileNotFoundError: If it is not there, or damaged: then it is removed.
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
    for file, (found, _) in zip(files, parts, strict=True):
        if found != columns:
            raise ShardError(f"{file} has {found}, and {files[0]} {columns}; expected the same in all files")
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
    """Return which columns a file has, and its labels, -1 for none."""
    from datasets import ClassLabel, Features, Image
    from pyarrow import parquet, types

    with open_address(file) as source:
        size = source.size
        found = parquet.ParquetFile(source)
        _check_rows(file, found.metadata.num_rows, size)
        named = features or Features.from_arrow_schema(found.schema_arrow)
        there = {name: feature for name, feature in named.items() if name in found.schema_arrow.names}
        image = next((name for name, feature in there.items() if isinstance(feature, Image)), None)
        if image is None:
            raise ShardError(f"{file} has no column of images, only {', '.join(there)}")
        label = next((name for name, feature in there.items() if isinstance(feature, ClassLabel)), None)
        if label is None:
            return _Columns(image, None, []), np.zeros(found.metadata.num_rows, dtype=np.int64)
        kind = found.schema_arrow.field(label).type
        if not types.is_integer(kind):
            raise ShardError(f"{file} has labels of type {kind} in column {label}; expected whole numbers")
        labels: list[np.ndarray] = []
        for batch in found.iter_batches(columns=[label]):  # whose rows are counted: the number may be a lie
            labels.append(batch.column(0).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64))
            _check_rows(file, sum(map(len, labels)), size)
        return _Columns(image, label, list(there[label].names)), np.concatenate([*labels, np.empty(0, np.int64)])


def _unpacked_size(metadata: Any, column: str) -> int:
    """Return the bytes of a column, as the file says."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)


def _too_large(file: str, most: int) -> ShardError:
    return ShardError(f"{file} holds more than {most:,} bytes of images, {_UNPACKED_TIMES} times its size")


def _check_rows(file: str, rows: int, size: int) -> None:
    if rows > size:
        raise ShardError(f"{file} has at least {rows:,} rows in {size:,} bytes; expected images, each of many bytes")


def _version(file: str) -> str:
    """Return what changes with the file: an address on the hub holds its commit."""
    if is_address(file):
        return file
    status = Path(file).stat()
    return f"{file} {status.st_size} {status.st_mtime_ns}"
