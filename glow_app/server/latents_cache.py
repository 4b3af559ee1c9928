"""The latents of recent pictures, because every move of a slider edits the same picture."""

import hashlib
import time
from collections.abc import Callable

from torch import Tensor

KEPT_SECONDS = 60.0  # that latents are kept after their last use
_BYTES = 2**24  # limit of all kept latents together


class LatentsCache:
    """Keeps latents for a minute after their last use, and of the pictures themselves only a hash."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, list[Tensor]]] = {}  # least recently used first

    def get(self, images: Tensor, given: Tensor | None, encode: Callable[[], list[Tensor]]) -> list[Tensor]:
        """Return the latents of images and what they are given, encoded if not kept; drop the least recently used."""
        known = None if given is None else given.tolist()
        key = hashlib.sha256(images.cpu().numpy().tobytes() + repr(known).encode()).digest()
        kept = self._kept.pop(key, None)
        latents = encode() if kept is None else kept[1]
        self._kept[key] = time.monotonic(), latents
        while sum(level.nbytes for _, levels in list(self._kept.values()) for level in levels) > _BYTES:
            self._kept.pop(next(iter(self._kept)), None)
        return latents

    def expire(self) -> None:
        """Drop latents that were not used for a minute."""
        for key, (used, _) in list(self._kept.items()):
            if used < time.monotonic() - KEPT_SECONDS:
                self._kept.pop(key, None)
