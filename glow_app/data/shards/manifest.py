"""The manifest of a folder of shards."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from glow_app.data.request import Split
from glow_app.data.sharded_images import ShardError
from glow_app.files import atomic_file
from glow_app.messages import is_line

MANIFEST = "manifest.json"
_FORMAT = "glow-shards"
_VERSION = 1

# A row per image: the position of its file in the shard, and its class.
INDEX = np.dtype([("offset", "<i8"), ("length", "<i8"), ("label", "<i4")])


@dataclass(frozen=True)
class ShardEntry:
    """A shard: file name, number of images, bytes, and SHA-256 in hexadecimal."""

    file: str
    count: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitEntry:
    """A split: its shards in order, and their index, an .npy file of :data:`INDEX` rows, with its SHA-256."""

    index: str
    index_sha256: str
    shards: tuple[ShardEntry, ...]

    @property
    def count(self) -> int:
        """Number of images."""
        return sum(shard.count for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """Splits and classes of a folder of shards.

    Args:
        splits: The existing splits.
        class_names: Name of each label; empty if unlabelled.
        image_shape: (C, H, W) at which the images were packed; None if their files were packed unchanged.
    """

    splits: Mapping[Split, SplitEntry]
    class_names: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] | None = None

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        for split, entry in self.splits.items():
            content["splits"][split] = {"count": entry.count, **content["splits"][split]}
        with atomic_file(folder / MANIFEST) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())

    @classmethod
    def parse(cls, text: str, place: str) -> "Manifest":
        """Parse the text of a manifest at ``place``; raise ShardError if it is invalid."""
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}")
            if content["version"] > _VERSION:
                raise ShardError(f"{place} is of version {content['version']}; update glow-app, which reads {_VERSION}")
            splits = {_split_name(split): _split_entry(entry) for split, entry in content["splits"].items()}
            names, shape = content["class_names"], content["image_shape"]
            if not all(isinstance(name, str) and is_line(name) for name in names):
                raise ValueError("class_names are not names")
            return cls(splits, tuple(names), None if shape is None else tuple(shape))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if isinstance(error, ShardError):
                raise
            raise ShardError(f"{place} is not a manifest of shards ({error!r}); glow data index writes one") from error


def _split_name(split: str) -> Split:
    if split not in get_args(Split):
        raise ValueError(f"split {split!r}")
    return split  # type: ignore[return-value]


def _split_entry(content: dict[str, Any]) -> SplitEntry:
    shards = tuple(ShardEntry(**shard) for shard in content["shards"])
    entry = SplitEntry(content["index"], content["index_sha256"], shards)
    numbers = [number for shard in shards for number in (shard.count, shard.bytes)]
    if not all(type(number) is int and 0 <= number < 1 << 60 for number in numbers):
        raise ValueError("the count or size of a shard is not a number")
    for name in (entry.index, *(shard.file for shard in shards)):
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"{name} is not below the folder")
    if not shards:
        raise ValueError("a split has no shards")
    return entry
