"""The one dataset class every source hands over."""

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glow_app.data.batched import BatchedSet
from glow_app.data.shards.images import ShardedImages

Batch = tuple[Tensor, Tensor]


class ImageSet(BatchedSet[Batch]):
    """Images and labels of one split, read a whole batch at a time.

    The images may be a memory map or lie in shards: a subset holds row numbers only, so nothing is read before it is
    asked for.

    Args:
        images: uint8 array, (N, C, H, W).
        labels: int64 tensor, (N,); zeros when unlabelled.
        class_names: Name of every label; empty when unlabelled.
        indices: Rows that make up this set, in order; all when omitted.
    Shape:
        One item is a uint8 (C, H, W) and an int64 scalar tensor; a batch is (B, C, H, W) and (B,).
    Raises:
        ValueError: If the images are not uint8 (N, C, H, W) or the labels do not fit them.
    """

    noun = "images"

    def __init__(
        self,
        images: np.ndarray | ShardedImages,
        labels: Tensor,
        class_names: Sequence[str] = (),
        indices: np.ndarray | Sequence[int] | None = None,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(f"images are {images.dtype} {images.shape}; expected uint8 (N, C, H, W)")
        if labels.dtype != torch.int64 or labels.shape != (len(images),):
            raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}; expected int64 ({len(images)},)")
        self._storage = images
        self._all_labels = labels
        self._indices = None if indices is None else np.asarray(indices, dtype=np.int64)
        self.class_names = tuple(class_names)

    def __len__(self) -> int:
        return len(self._storage if self._indices is None else self._indices)

    def __repr__(self) -> str:
        return f"ImageSet({len(self)} images of {self.image_shape}, {len(self.class_names)} classes)"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self._storage.shape[1:]
        return channels, height, width

    @property
    def images(self) -> np.ndarray:
        """All images, uint8 (N, C, H, W): the storage itself, or for a subset or shards a copy of its rows."""
        whole = self._indices is None and isinstance(self._storage, np.ndarray)
        return self._storage if whole else self.head(len(self))  # type: ignore[return-value]

    def head(self, count: int) -> np.ndarray:
        """Return the first so many images, or all if there are fewer, uint8 (n, C, H, W)."""
        rows = slice(0, min(count, len(self)))
        return self._storage[rows if self._indices is None else self._indices[rows]]

    @property
    def labels(self) -> Tensor:
        """All labels, int64 (N,)."""
        return self._all_labels if self._indices is None else self._all_labels[torch.from_numpy(self._indices)]

    def __getitem__(self, index: int) -> Batch:
        row = self._rows([index])
        return torch.from_numpy(self._storage[row][0]), self._all_labels[row[0]]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = self._rows(indices)
        return torch.from_numpy(self._storage[rows]), self._all_labels[torch.from_numpy(rows)]

    @property
    def blocks(self) -> np.ndarray | None:
        """Number of the shard that each image lies in; None where one order of reading is as good as another."""
        if isinstance(self._storage, np.ndarray):
            return None
        return self._storage.shard_of(np.arange(len(self)) if self._indices is None else self._indices)

    def subset(self, indices: np.ndarray | Sequence[int]) -> "ImageSet":
        """Return the images at ``indices`` of this set, in that order, sharing the storage."""
        return ImageSet(self._storage, self._all_labels, self.class_names, self._rows(indices))

    def _rows(self, indices: np.ndarray | Sequence[int]) -> np.ndarray:
        wanted = np.asarray(indices, dtype=np.int64)
        if wanted.size and not (-len(self) <= wanted.min() and wanted.max() < len(self)):
            raise IndexError(f"index out of range for {len(self)} images")
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        return wanted if self._indices is None else self._indices[wanted]

    def __getstate__(self) -> dict[str, Any]:
        # NumPy pickles a memory map by value: a spawned loader worker would receive the whole file.
        state = self.__dict__.copy()
        images = self._storage
        if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap) and images.filename:
            whole = images.offset + images.nbytes == os.path.getsize(images.filename)
            if whole and images.flags.c_contiguous:
                state["_storage"] = _MapReference(str(images.filename), images.offset, images.shape)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._storage, _MapReference):
            self._storage = self._storage.open()


class _MapReference:
    def __init__(self, filename: str, offset: int, shape: tuple[int, ...]) -> None:
        self.filename, self.offset, self.shape = filename, offset, shape

    def open(self) -> np.memmap:
        return np.memmap(self.filename, dtype=np.uint8, mode="r", offset=self.offset, shape=self.shape)
