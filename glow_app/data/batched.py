"""The interface between data sets and loaders: data sets that are read in whole batches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from torch.utils.data import Dataset

T = TypeVar("T")


class BatchedSet(Dataset[T], ABC):
    """A data set that is read a whole batch at a time.

    Pass :meth:`collate` to a ``DataLoader`` as ``collate_fn``, because :meth:`__getitems__` already collates.

    Attributes:
        noun: Plural noun for its items, in messages.
    """

    noun: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> T: ...

    @staticmethod
    def collate(batch: Any) -> Any:
        """Return the batch unchanged."""
        return batch
