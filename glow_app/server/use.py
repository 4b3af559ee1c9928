"""Fair sharing: recent use per client, and turns at a resource."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

# The client address of the current request.
CLIENT: ContextVar[str] = ContextVar("client", default="")

_HALF_LIFE = 30.0  # seconds


class RecentUse:
    """Seconds used by each client, decaying with a half-life of 30 s."""

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}

    def add(self, client: str, seconds: float) -> None:
        """Add to the use of a client."""
        now = time.monotonic()
        if len(self._used) > 1000:
            self._used = {name: use for name, use in self._used.items() if now - use[1] < 10 * _HALF_LIFE}
        self._used[client] = (self.of(client) + seconds, now)

    def of(self, client: str) -> float:
        """Return the decayed use of a client in seconds."""
        now = time.monotonic()
        seconds, at = self._used.get(client, (0.0, now))
        return float(seconds * 0.5 ** ((now - at) / _HALF_LIFE))


class FairTurns:
    """Turns at a resource that serves ``places`` requests at a time.

    Next is the smallest request of the client with the least recent use: large or slow requests delay their sender.
    """

    def __init__(self, places: int = 1) -> None:
        self.use = RecentUse()
        self._free = places
        self._waiting: list[tuple[str, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def take(self, client: str, size: int) -> AsyncIterator[None]:
        """Wait for the client's turn, and hold it within the context; ``size`` orders requests of the same client."""
        end = await self.begin(client, size)
        try:
            yield
        finally:
            end()

    async def begin(self, client: str, size: int) -> Callable[[], None]:
        """Wait for the client's turn, and return the function that ends it, for work that outlasts its request."""
        if self._free:
            self._free -= 1
        else:
            freed = asyncio.get_running_loop().create_future()
            self._waiting.append((client, size, freed))
            try:
                await freed
            except asyncio.CancelledError:
                if freed.done() and not freed.cancelled():
                    self._pass_on()  # cancelled after the turn was granted
                raise
        begun = time.monotonic()

        def end() -> None:
            self.use.add(client, time.monotonic() - begun)
            self._pass_on()

        return end

    def _pass_on(self) -> None:
        self._waiting = [turn for turn in self._waiting if not turn[2].done()]
        if not self._waiting:
            self._free += 1
            return
        following = min(self._waiting, key=lambda turn: (int(self.use.of(turn[0])), turn[1]))
        self._waiting.remove(following)
        following[2].set_result(None)
