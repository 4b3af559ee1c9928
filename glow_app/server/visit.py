"""A request in progress, which its client, its deadline or a shutdown can end."""

import asyncio

from starlette.types import Receive


class ClientLeftError(Exception):
    """The client closed the connection before the answer."""


class Visit:
    """A request in progress, which can be ended from outside."""

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer: asyncio.TimerHandle | None = None
        self.reason: Exception | None = None
        self.held = 0  # bytes of its body in memory
        self.is_read = False  # whether the whole body has been read
        self.is_answered = False
        self.has_slot = False

    @property
    def can_end(self) -> bool:
        """Whether it has neither been ended nor started to be answered."""
        return self.reason is None and not self.is_answered

    def end(self, reason: Exception) -> None:
        """Cancel the request, unless it is being answered."""
        if self.can_end:
            self.reason = reason
            self._task.cancel()

    def expire(self, seconds: float, reason: Exception) -> None:
        """Set the deadline, replacing an earlier one."""
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.end, reason)

    def settle(self) -> None:
        """Undo the cancellation, so that the request can be answered."""
        self._task.uncancel()

    def close(self) -> None:
        """Clear the deadline."""
        if self._timer is not None:
            self._timer.cancel()

    async def watch(self, receive: Receive) -> None:
        """End the request when its client leaves; no other message can follow the body."""
        await receive()
        self.end(ClientLeftError())
