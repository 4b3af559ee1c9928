"""What each client has used of late of something that all share."""

import time
from collections.abc import Callable
from contextvars import ContextVar

__all__ = ["CLIENT", "RecentUse"]

# The address from which the present request comes.
CLIENT: ContextVar[str] = ContextVar("client", default="")

_HALF_LIFE = 30.0  # seconds after which half of a client's use is forgotten


class RecentUse:
    """Seconds that each client has used, half of which are forgotten every 30 s.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: dict[str, tuple[float, float]] = {}

    def add(self, client: str, seconds: float) -> None:
        """Count what a client has used."""
        now = self._clock()
        if len(self._used) > 1000:
            self._used = {one: use for one, use in self._used.items() if now - use[1] < 10 * _HALF_LIFE}
        self._used[client] = (self.of(client) + seconds, now)

    def of(self, client: str) -> float:
        """Return the seconds that a client has used."""
        now = self._clock()
        seconds, at = self._used.get(client, (0.0, now))
        return float(seconds * 0.5 ** ((now - at) / _HALF_LIFE))
