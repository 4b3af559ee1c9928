"""Nearest neighbours among many, part by part."""

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["Neighbours", "distances"]


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Return Euclidean distances, (N, M), float64; those of equal rows to rounding, about 1e-7 of their norm.

    Args:
        a: (N, F).
        b: (M, F).
    """
    return torch.cdist(a.double(), b.double())


class Neighbours:
    """The k nearest of references that come in parts, of which only the best are kept.

    Args:
        queries: Whose neighbours are sought, (N, F).
        num: The number k.
    Attributes:
        distances: To the nearest, the nearest first, (N, k), float64; fewer than k while there have been fewer.
        indices: Numbers of the references in the order in which they came, (N, k).
    """

    def __init__(self, queries: Tensor, num: int) -> None:
        self.queries = queries.double()
        self.num = num
        self.distances = torch.zeros(len(queries), 0, dtype=torch.float64)
        self.indices = torch.zeros(len(queries), 0, dtype=torch.int64)
        self._seen = 0

    def update(self, references: Tensor) -> None:
        """Take a part of the references, (M, F), into account."""
        numbers = torch.arange(self._seen, self._seen + len(references)).expand(len(self.queries), -1)
        self._seen += len(references)
        found = torch.cat([self.distances, distances(self.queries, references)], dim=1)
        self.distances, chosen = found.topk(min(self.num, found.shape[1]), dim=1, largest=False)
        self.indices = torch.cat([self.indices, numbers], dim=1).gather(1, chosen)

    def update_all(self, parts: Iterable[Tensor]) -> "Neighbours":
        """Take all parts into account, and return this."""
        for part in parts:
            self.update(part)
        return self
