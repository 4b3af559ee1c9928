"""What the loaders need of a data set: whole batches at a time, and a word for its items."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
from torch.utils.data import Dataset

T = TypeVar("T")


class BatchedSet(Dataset[T], ABC):
    """A data set that is read a whole batch at a time.

    Give :meth:`collate` to a ``DataLoader``; :meth:`__getitems__` already returns the finished batch.

    Attributes:
        noun: What several of its items are called in messages.
    """

    noun: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> T: ...

    @property
    def blocks(self) -> np.ndarray | None:
        """For each item the number of the file that it is read from; None where one order is as good as another."""
        return None

    @staticmethod
    def collate(batch: Any) -> Any:
        """Hand on what :meth:`__getitems__` already collated (``collate_fn`` of a ``DataLoader``)."""
        return batch
