"""The inner ASGI middleware: bounded body, queue slot and deadline of each request that needs the model."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.messages import pluralise
from glow_app.server.errors import ApiError, ClientLeftError
from glow_app.server.limits import Limits

_LARGE = 2**20  # bytes of a body after which garbage is collected
_SMALL = 2**12  # bytes of a body that is admitted regardless of the total


class Load:
    """What the requests in progress take: bytes of bodies in memory, and slots of the queue."""

    held = 0
    depth = 0

    def leave(self) -> None:
        """Free a slot."""
        self.depth -= 1


class Admission:
    """Middleware around an application.

    Args:
        app: The application.
        limits: See :class:`Limits`.
        paths: Paths whose POST requests need the model.
        load: Counts them.
        backlog: Returns the estimated seconds of queued work.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, paths: Collection[str], load: Load, backlog: Callable[[], float]
    ) -> None:
        self._app, self._limits, self._paths, self._load, self._backlog = app, limits, paths, load, backlog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit a request, or raise :class:`ApiError` or :class:`ClientLeftError`."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        self._check_head(Headers(scope=scope))
        body, size, seconds = bytearray(), 0, self._limits.body_seconds
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._read(body, receive)
            except TimeoutError as error:
                raise ApiError(408, "body_too_slow", f"the body timed out after {seconds:g} s") from error
            finally:
                size = len(body)
            self._check_structure(body)
            await self._compute(scope, body, receive, send)
        finally:
            self._load.held -= size
            if size > _LARGE:  # a JSON error holds the body, in a reference cycle with its traceback
                gc.collect()

    def _check_head(self, headers: Headers) -> None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "not_json", "the body is of another type; expected Content-Type: application/json")
        self._check_size(int(headers.get("content-length", "0")))

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise ApiError(413, "body_too_large", f"a body has at most {self._limits.body_bytes:,} bytes")

    async def _read(self, body: bytearray, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            body += chunk
            self._load.held += len(chunk)
            self._check_size(len(body))
            if self._load.held > self._limits.all_bodies_bytes and len(body) > _SMALL:
                full = "too many bodies at one time; try again in 1 s"
                raise ApiError(503, "too_many_bodies", full, {"Retry-After": "1"})

    def _check_structure(self, body: bytearray) -> None:
        # Before parsing, in which a value takes up to a hundred times its bytes. Base64 has none of these characters.
        if sum(body.count(sign) for sign in b",:[{") > self._limits.values:
            message = f"the body holds too many values; at most {self._limits.values:,} commas, colons and brackets"
            raise ApiError(422, "too_many_values", message)

    async def _compute(self, scope: Scope, body: bytearray, receive: Receive, send: Send) -> None:
        limits, load = self._limits, self._load
        if load.depth >= limits.queue:
            waiting = f"{pluralise(load.depth, 'request')} {'is' if load.depth == 1 else 'are'}"
            after = max(1, round(self._backlog()))
            full = f"{waiting} waiting; try again in {after} s"
            raise ApiError(503, "queue_full", full, {"Retry-After": str(after)})

        async def replay() -> Message:
            whole = bytes(body)
            body.clear()  # keeps a single copy
            return {"type": "http.request", "body": whole, "more_body": False}

        async def send_without_slot(message: Message) -> None:
            slot.close()  # an answer that waits for its reader keeps no slot from others
            await send(message)

        with ExitStack() as slot:
            load.depth += 1
            slot.callback(load.leave)
            late = ApiError(504, "too_slow", f"there was no result within {limits.seconds:g} s")
            await _while_wanted(self._app(scope, replay, send_without_slot), receive, limits.seconds, late)


async def _while_wanted(work: Awaitable[None], receive: Receive, seconds: float, late: ApiError) -> None:
    """Run work until it ends, or raise: ``late`` after some seconds, ClientLeftError when the client leaves."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())  # no message follows the body
    try:
        await asyncio.wait([working, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeftError if leaving.done() else late
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait([working, leaving])
    working.result()
