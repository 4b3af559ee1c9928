"""Tar files in WebDataset layout as shards: `000000001.png` beside `000000001.cls`."""

import json
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from glow_app.data.decoding import readable_formats
from glow_app.data.sharded_images import RecordFile, Shard, ShardError
from glow_app.data.shards.addresses import fault_of, fetch_verified, is_address
from glow_app.data.shards.manifest import INDEX, ShardEntry
from glow_app.data.shards.shard_cache import ShardCache

_MAX_CLASSES = 100_000
_LONGEST_LABEL = 1 << 20  # bytes
_LONGEST_NAME = 4096


def tar_shard(name: str, entry: ShardEntry, index_path: Path, start: int, cache: ShardCache) -> Shard:
    """Return a shard for a tar file, whose images are listed from row ``start`` of the split's index, a local file.

    Raises:
        ShardError: If the tar file is local and its size differs from the manifest.
    """
    if not is_address(name) and (fault := fault_of(Path(name), entry.bytes)):
        raise ShardError(f"shard {name} {fault}; put a good copy in its place, or pack the folder again")
    remedy = "put a good copy in its place; glow data verify finds all such shards"
    return Shard(name, entry.count, remedy, partial(_open, name, entry, index_path, start, cache))


def _open(name: str, entry: ShardEntry, index_path: Path, start: int, cache: ShardCache) -> RecordFile:
    try:
        index = np.load(index_path, mmap_mode="r")[start : start + entry.count]
    except OSError as error:  # a FileNotFoundError would mean a missing shard to the cache
        raise ShardError(f"index {index_path} is gone ({error}); restart the run") from error

    def records(path: Path) -> RecordFile:
        if is_address(name) and path.stat().st_size != entry.bytes:
            path.unlink()
            raise FileNotFoundError(path)
        return RecordFile(path, index["offset"], index["length"])

    if not is_address(name):
        return records(Path(name))
    return cache.use(f"{name} {entry.sha256}", partial(fetch_verified, name, sha256=entry.sha256), records)


def index_tar(path: Path) -> np.ndarray:
    """Return the positions and labels of the images in an uncompressed tar file, as rows of :data:`INDEX`.

    Labels come from `KEY.cls`, or from `label` or `cls` in `KEY.json`; images without a label get -1.

    Raises:
        ShardError: If the file is not a tar file, contains no images, or has an invalid label.
    """
    rows: list[tuple[int, int, int]] = []
    keys: list[str] = []
    labels: dict[str, int] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in _members(tar, path):
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                key = f"{folder}/{stem}"
                if f".{suffix.lower()}" in readable_formats():
                    rows.append((member.offset_data, member.size, -1))
                    keys.append(key)
                elif suffix in ("cls", "json"):
                    if member.size > _LONGEST_LABEL:  # a sparse member occupies almost nothing in the file
                        raise ShardError(
                            f"{member.name} in {path} has {member.size:,} bytes; expected a class's number"
                        )
                    content = tar.extractfile(member).read()  # type: ignore[union-attr]
                    labels.update((key, label) for label in _label(content, f"{member.name} in {path}"))
    except (tarfile.TarError, EOFError) as error:
        raise ShardError(f"{path} cannot be read as a tar file: {error}") from error
    if not rows:
        raise ShardError(f"{path} holds no image; expected members such as 0001.png or 0001.jpg")
    index = np.array(rows, dtype=INDEX)
    check_places(index, path.stat().st_size, str(path))
    index["label"] = [labels.get(key, -1) for key in keys]
    return index


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an archive, in constant memory."""
    end = -1
    for member in tar:
        # tarfile would keep all members, each with a copy of the archive's global headers.
        tar.members.clear()  # type: ignore[attr-defined]
        # Negative sizes, which extended headers can hide, would lead back to an earlier member.
        if member.size < 0 or member.offset_data <= end:
            raise ShardError(f"{path}: the members do not follow one another; the file is damaged")
        end = member.offset_data
        if not member.isfile():
            continue
        if len(member.name) > _LONGEST_NAME:  # a single header may set the name of all members
            raise ShardError(f"{path} has a name of {len(member.name):,} characters; the file is damaged")
        yield member


def check_places(index: np.ndarray, num_bytes: int, name: str) -> None:
    """Raise ShardError if rows of an index point outside their file of ``num_bytes``."""
    offset, length = index["offset"], index["length"]
    if not ((offset >= 0) & (length >= 0) & (length <= num_bytes) & (offset <= num_bytes - length)).all():
        raise ShardError(f"the index of {name} is damaged: an image lies outside its {num_bytes:,} bytes")


def _label(content: bytes, name: str) -> Iterator[int]:
    """Yield the label if there is one."""
    try:
        decoded = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{name} holds no label: {content[:40]!r}; expected a class's number") from error
    label = decoded.get("label", decoded.get("cls")) if isinstance(decoded, dict) else decoded
    if isinstance(label, int):
        if not 0 <= label < _MAX_CLASSES:
            raise ShardError(f"{name} holds the label {label}; expected a class's number, 0 to {_MAX_CLASSES - 1}")
        yield label
