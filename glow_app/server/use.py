"""What each client has used of late of something that all share, and who is next."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

__all__ = ["CLIENT", "FairTurns", "RecentUse"]

# The address from which the present request comes.
CLIENT: ContextVar[str] = ContextVar("client", default="")

_HALF_LIFE = 30.0  # seconds after which half of a client's use is forgotten


class RecentUse:
    """Seconds that each client has used, half of which are forgotten every 30 s."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}

    def add(self, client: str, seconds: float) -> None:
        """Count what a client has used."""
        now = time.monotonic()
        if len(self._used) > 1000:
            self._used = {one: use for one, use in self._used.items() if now - use[1] < 10 * _HALF_LIFE}
        self._used[client] = (self.of(client) + seconds, now)

    def of(self, client: str) -> float:
        """Return the seconds that a client has used."""
        now = time.monotonic()
        seconds, at = self._used.get(client, (0.0, now))
        return float(seconds * 0.5 ** ((now - at) / _HALF_LIFE))


class FairTurns:
    """Turns at something that serves one request at a time.

    Next is the request whose client has used the least time of late, and among those of one client the smallest: large
    or slow ones delay those who sent them.
    """

    def __init__(self) -> None:
        self.use = RecentUse()
        self._is_taken = False
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def take(self, client: str, size: int) -> AsyncIterator[None]:
        """Wait for a client's turn, for work of a size, and hold it for the block."""
        if self._is_taken:
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append((client, size, freed))
            try:
                await freed
            except asyncio.CancelledError:
                if freed.done() and not freed.cancelled():
                    self._pass_on()  # it was this one's turn already
                raise
        self._is_taken = True
        begun = time.monotonic()
        try:
            yield
        finally:
            self.use.add(client, time.monotonic() - begun)
            self._pass_on()

    def _pass_on(self) -> None:
        self._waiting = [turn for turn in self._waiting if not turn[2].done()]
        if not self._waiting:
            self._is_taken = False
            return
        following = min(self._waiting, key=lambda turn: (int(self.use.of(turn[0])), turn[1]))
        self._waiting.remove(following)
        following[2].set_result(None)
