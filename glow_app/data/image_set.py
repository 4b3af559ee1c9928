"""Data sets that are read in whole batches, and the one that every image source returns."""

import math
import mmap
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from glow_app.data.attributes import Kind
from glow_app.data.resizing import convert_array
from glow_app.data.splits import SplitRequest

Batch = tuple[Tensor, Tensor]
T = TypeVar("T")

# Consecutive unreadable images after which a data set counts as damaged.
MAX_UNREADABLE = 16


class BatchedSet(Dataset[T], ABC):
    """A data set that is read a whole batch at a time.

    Pass :meth:`collate` to a ``DataLoader`` as ``collate_fn``, because :meth:`__getitems__` already collates.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> T: ...

    @staticmethod
    def collate(batch: Any) -> Any:
        """Return the batch unchanged."""
        return batch


@dataclass(frozen=True)
class LazyImages:
    """Images that are decoded on access.

    Args:
        shape: (N, C, H, W).
        read: Returns the image of a row, uint8 (C, H, W); raises any Exception if it cannot be decoded.
    """

    shape: tuple[int, int, int, int]
    read: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]


class ImageSet(BatchedSet[Batch]):
    """Images and labels of one split, read a whole batch at a time.

    The images may be in memory, memory-mapped or decoded on access. A subset stores only row numbers. If an image
    cannot be decoded on access, a warning names it, and the next readable image of this set replaces it, with its own
    label.

    Args:
        images: uint8 (N, C, H, W).
        labels: Classes, int64 (N,), zeros if unlabelled; or attributes, float32 (N, A), NaN where unknown.
        class_names: Name of each class; empty if unlabelled.
        indices: Rows of this set, in order; all if omitted.
        attributes: Kind of each attribute by its name; empty for labels that are classes.
    Shape:
        An item is a uint8 (C, H, W) and its label; a batch is (B, C, H, W), and (B,) or (B, A).
    Raises:
        ValueError: If the labels do not match the images.
    """

    def __init__(
        self,
        images: np.ndarray | LazyImages,
        labels: Tensor,
        class_names: Sequence[str] = (),
        indices: np.ndarray | Sequence[int] | None = None,
        attributes: Mapping[str, Kind] | None = None,
    ) -> None:
        dtype, shape = (torch.float32, (len(attributes),)) if attributes else (torch.int64, ())
        if labels.dtype != dtype or labels.shape != (len(images), *shape):
            expected = f"{dtype} {(len(images), *shape)}"
            raise ValueError(f"labels are {labels.dtype} {tuple(labels.shape)}; expected {expected}")
        self._storage = images
        self._all_labels = labels
        self._rows = np.asarray(range(len(images)) if indices is None else indices, dtype=np.int64)
        self.class_names, self.attributes = tuple(class_names), dict(attributes or {})

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"ImageSet({len(self)} images of {self.image_shape}, {len(self.class_names)} classes)"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self._storage.shape[1:]
        return channels, height, width

    @property
    def images(self) -> np.ndarray:
        """A copy of all images, uint8 (N, C, H, W)."""
        return self.head(len(self))

    def head(self, count: int) -> np.ndarray:
        """Return the first ``count`` images, or all if there are fewer, uint8 (n, C, H, W)."""
        return self._read(range(min(count, len(self))))[0]

    @property
    def labels(self) -> Tensor:
        """All labels, (N,) or (N, A)."""
        return self._all_labels[torch.from_numpy(self._rows)]

    def __getitem__(self, index: int) -> Batch:
        images, rows = self._read([index])
        return torch.from_numpy(images[0]), self._all_labels[rows[0]]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        images, rows = self._read(indices)
        return torch.from_numpy(images), self._all_labels[torch.from_numpy(rows)]

    def subset(self, indices: np.ndarray | Sequence[int]) -> "ImageSet":
        """Return the images at ``indices`` of this set, in that order; shares the storage."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return ImageSet(self._storage, self._all_labels, self.class_names, rows, self.attributes)

    def with_class_order(self, class_names: Sequence[str]) -> "ImageSet":
        """Return this set with its classes permuted to this order and its labels adapted; shares the storage."""
        if tuple(class_names) == self.class_names:
            return self
        new_labels = torch.tensor([list(class_names).index(name) for name in self.class_names])
        return ImageSet(self._storage, new_labels[self._all_labels], class_names, self._rows)

    def with_attributes(self, attributes: Mapping[str, Kind]) -> "ImageSet":
        """Return this set with these attributes as labels, unknown if it has none of the name; shares the storage."""
        if list(attributes) == list(self.attributes):
            return self
        columns = dict(zip(self.attributes, self._all_labels.T, strict=True)) if self.attributes else {}
        unknown = torch.full((len(self._all_labels),), math.nan)
        labels = torch.stack([columns.get(name, unknown) for name in attributes], dim=1)
        return ImageSet(self._storage, labels, (), self._rows, attributes)

    def _read(self, indices: np.ndarray | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the images at these indices, and their rows; unreadable images are replaced."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        if isinstance(self._storage, np.ndarray):
            return self._storage[rows], rows
        positions = np.arange(len(self))[np.asarray(indices, dtype=np.int64)]
        pairs = [self._first_readable(self._storage, int(position)) for position in positions]
        images = np.stack([image for image, _ in pairs]) if pairs else np.empty((0, *self.image_shape), np.uint8)
        return images, np.array([row for _, row in pairs], dtype=np.int64)

    def _first_readable(self, storage: LazyImages, position: int) -> tuple[np.ndarray, int]:
        """Return the first readable image of this set from a position on, and its row."""
        reason = ""
        for distance in range(min(MAX_UNREADABLE, len(self))):
            row = int(self._rows[(position + distance) % len(self)])
            try:
                image = storage.read(row)
            except Exception as error:  # Pillow's plugins share no narrower type
                reason = reason or f"image {row} cannot be read ({type(error).__name__}: {error})"
                continue
            if reason:
                warnings.warn(f"{reason}; using the next image instead", stacklevel=2)
            return image, row
        raise ValueError(f"{reason}; the next {MAX_UNREADABLE - 1} cannot be read either: the data set is damaged")

    def __getstate__(self) -> dict[str, Any]:
        # NumPy pickles a memory map by value: a spawned loader worker would receive the whole file.
        state, images = self.__dict__.copy(), self._storage
        if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):  # not a part of a memory map
            options = {"dtype": np.uint8, "mode": "r", "offset": images.offset, "shape": images.shape}
            state["_storage"] = partial(np.memmap, images.filename, **options)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._storage, partial):
            self._storage = self._storage()


def select_split(
    pool: ImageSet, request: SplitRequest, official: Container[str] = (), names: Sequence[str] | None = None
) -> ImageSet:
    """Return the requested split of a pool, at the requested shape and up to the limit.

    Args:
        pool: Images of the split if it is official, otherwise the images to cut into splits.
        official: As for :meth:`~glow_app.data.splits.SplitRequest.rows`.
        names: Names of the images, if they have any.
    """
    chosen = pool.subset(request.rows(names or len(pool), official)[: request.limit])
    if chosen.image_shape == request.image_shape:
        return chosen
    images = convert_array(chosen.images, request.image_shape, request.resize)
    return ImageSet(images, chosen.labels, chosen.class_names, attributes=chosen.attributes)
