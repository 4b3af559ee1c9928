"""Images in shards, read on access."""

import os
import re
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glow_app.data.decoding import decode_image
from glow_app.data.request import Resize

# Number of shards that a shuffled order reads from at a time.
OPEN_SHARDS = 8

# Number of files that a process keeps open; slightly more, so that they are not reopened repeatedly.
_MAX_OPEN = OPEN_SHARDS + 2


class ShardError(ValueError):
    """A shard differs from its manifest, or cannot be read."""


class UnreadableImage(ValueError):
    """One image of a shard cannot be decoded."""


class RecordFile:
    """An open file of records, each read by its offset and length in bytes.

    It stays readable after a cache has removed the file to make room.
    """

    def __init__(self, path: Path, offsets: np.ndarray, lengths: np.ndarray) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._offsets, self._lengths = offsets, lengths

    def read(self, index: int) -> bytes:
        """Return a record; it is truncated at the end of a truncated file. Several processes may read concurrently."""
        return os.pread(self._descriptor, int(self._lengths[index]), int(self._offsets[index]))


@dataclass(frozen=True)
class Shard:
    """A file of images.

    Args:
        name: Path or address.
        count: Number of images.
        remedy: What to do if it is damaged, for messages.
        open: Returns its records, each an image file, from a local disk.
    """

    name: str
    count: int
    remedy: str
    open: Callable[[], RecordFile]


class ShardedImages:
    """An array of images, uint8 (N, C, H, W), that are decoded from shards on access.

    Args:
        shards: Shards in the order of the rows.
        image_shape: (C, H, W) to which all images are converted.
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shards: Sequence[Shard], image_shape: tuple[int, int, int], resize: Resize) -> None:
        self.shards = tuple(shards)
        self.image_shape, self.resize = image_shape, resize
        self._ends = np.cumsum([shard.count for shard in self.shards], dtype=np.int64)
        self._open: OrderedDict[int, RecordFile] = OrderedDict()

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self), *self.image_shape

    def shard_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the index of the shard of each row."""
        return np.searchsorted(self._ends, rows, side="right")

    def read(self, row: int) -> np.ndarray:
        """Return one image, uint8 (C, H, W).

        Raises:
            UnreadableImage: If the image cannot be decoded.
            ShardError: If its shard cannot be opened.
        """
        number = int(self.shard_of(np.array(row)))
        shard = self.shards[number]
        index = row - int(self._ends[number]) + shard.count
        content = self._records(number).read(index)
        try:
            return decode_image(content, self.image_shape, self.resize)
        except Exception as error:  # Pillow's plugins share no narrower type
            reason = re.sub(r"\s*<_io\.BytesIO[^>]*>", "", f"{type(error).__name__}: {error}")
            raise UnreadableImage(f"image {index} of {shard.name} cannot be read ({reason})") from error

    def _records(self, shard: int) -> RecordFile:
        if shard not in self._open:
            try:
                self._open[shard] = self.shards[shard].open()
            except ShardError:
                raise
            except Exception as error:  # the file systems of fsspec share no narrower type
                name = self.shards[shard].name
                raise ShardError(f"shard {name} cannot be read: {type(error).__name__}: {error}") from error
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard)
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        # Loader workers open the files themselves.
        return {**self.__dict__, "_open": OrderedDict()}
