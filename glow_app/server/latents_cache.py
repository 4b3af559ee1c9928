"""A cache of latents, because every move of a slider edits the same picture."""

import hashlib
import threading
import time
from collections.abc import Callable

from torch import Tensor

KEPT_SECONDS = 60.0  # since the last use
_BYTES = 2**24  # limit of all latents together
_OBJECT = 768  # overhead per tensor, including its share of an entry, bytes

Row = tuple[Tensor, Tensor | None]  # image, (1, C, H, W), and class
Encoded = tuple[Tensor, ...]  # one tensor per level


class LatentsCache:
    """Keeps up to 16 MiB of latents of a model, for a minute after their last use."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._kept: dict[tuple[bytes, int | None], tuple[float, Encoded]] = {}  # least recently used first

    def get(self, row: Row) -> Encoded | None:
        """Return the cached latents of a row, or None."""
        with self._lock:
            kept = self._kept.pop(_key(row), None)
            if kept is None:
                return None
            self._kept[_key(row)] = self._clock(), kept[1]
            return kept[1]

    def put(self, row: Row, levels: Encoded) -> None:
        """Add the latents of a row, and drop the least recently used."""
        with self._lock:
            # A level may be a view of a whole batch, which must not be kept alive.
            self._kept[_key(row)] = self._clock(), tuple(level.clone() for level in levels)
            size = sum(_OBJECT + level.nbytes for level in levels)  # the same for all images of a model
            while len(self._kept) * size > _BYTES:
                del self._kept[next(iter(self._kept))]

    def expire(self) -> None:
        """Drop latents that were not used for a minute."""
        with self._lock:
            oldest = self._clock() - KEPT_SECONDS
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > oldest}


def _key(row: Row) -> tuple[bytes, int | None]:
    # A digest, so that no pictures are kept.
    image, label = row
    return hashlib.sha256(image.cpu().numpy().tobytes()).digest(), None if label is None else int(label)
