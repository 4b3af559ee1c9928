"""Images that are read from shards when they are asked for."""

import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from glow_app.data.decoding import decode_bytes
from glow_app.data.request import Resize
from glow_app.data.shards.records import RecordFile

__all__ = ["Shard", "ShardError", "ShardedImages"]

# Files that a process keeps open: more than the shards that a shuffled order is in at a time.
_MAX_OPEN = 32

# Images in a row that cannot be read before the shard is called damaged.
_PATIENCE = 16


class ShardError(ValueError):
    """A shard is not what its manifest says, or cannot be had."""


class Shard(ABC):
    """A file of images.

    Attributes:
        name: Where it is, for messages.
        count: How many images it holds.
    """

    name: str
    count: int

    @abstractmethod
    def open(self) -> RecordFile:
        """Return its records, each an image file, from a local disk.

        Raises:
            ShardError: If it cannot be had, or is not what it should be.
        """


class ShardedImages:
    """What an array of images, uint8 (N, C, H, W), is to those that read it by rows; nothing is held in memory.

    An image that cannot be read is named in a warning, and the next one that can stands in for it.

    Args:
        shards: In the order of the rows.
        image_shape: (C, H, W) that every image is brought to.
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
        """Return the number of the shard that each row is in."""
        return np.searchsorted(self._ends, rows, side="right")

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        wanted = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        images = np.empty((len(wanted), *self.image_shape), dtype=np.uint8)
        for place, row in enumerate(wanted):
            images[place] = self._read(int(row))
        return images

    def _read(self, row: int) -> np.ndarray:
        first = self._place(row)
        reason = ""
        for distance in range(min(_PATIENCE, len(self))):
            shard, index = self._place((row + distance) % len(self))
            try:
                content = self._records(shard).read(index)
                image = decode_bytes(content, self.image_shape, self.resize)
            except ShardError:
                raise
            except Exception as error:  # Pillow's plugins share no narrower type
                reason = reason or f"{type(error).__name__}: {error}"
                continue
            if distance:
                name = self.shards[first[0]].name
                message = f"image {first[1]} of {name} cannot be read ({reason}); the next one stands in for it"
                warnings.warn(message, stacklevel=3)
            return image
        raise ShardError(
            f"{self.shards[first[0]].name} is damaged: no image from its {first[1]}th on can be read ({reason}); "
            "put a good copy in its place; glow data verify finds all such shards"
        )

    def _place(self, row: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, row, side="right"))
        return shard, row - int(self._ends[shard]) + self.shards[shard].count

    def _records(self, shard: int) -> RecordFile:
        if shard not in self._open:
            self._open[shard] = self.shards[shard].open()
            if len(self._open) > _MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(shard)
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        # A loader worker opens the files itself.
        return {**self.__dict__, "_open": OrderedDict()}
