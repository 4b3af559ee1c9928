"""What every request passes before the application sees it: its number, the key, and a body of bounded size."""

import asyncio
import gc
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.server.errors import ApiError, error_answer
from glow_app.server.limits import Limits

__all__ = ["Gate"]

_LOG = logging.getLogger("glow_app.server")

_LARGE = 2**20  # bytes of a body

# The page runs its own script and style, and talks to this server; nothing else is loaded, and nobody frames it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """ASGI middleware around the application.

    Args:
        app: The application.
        limits: See :class:`Limits`.
        key: That requests below ``/v1/`` have to show as ``Authorization: Bearer KEY``; None for no key.
        endpoints: Paths with counters of their own, and their methods in lower case; other paths share a counter.
        answered: Called with endpoint, status and seconds of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        key: str | None,
        endpoints: Mapping[str, Collection[str]],
        answered: Callable[[str, int, float], None],
    ) -> None:
        self._app, self._limits, self._answered = app, limits, answered
        self._key = None if key is None else key.encode()
        self._endpoints = endpoints
        self._held = 0  # bytes of bodies that are in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request_id = scope["glow.request_id"] = uuid.uuid4().hex
        begun, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/v1/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self._let_in(scope, receive, send_with_headers)
        finally:
            if status:  # none where the client left before
                endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
                self._answered(endpoint, status, time.perf_counter() - begun)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        body = bytearray()
        held = 0

        def hold(size: int) -> None:
            nonlocal held
            held += size
            self._held += size
            self._check_size(held)
            if self._held > self._limits.all_bodies_bytes:
                raise ApiError(503, "too_many_bodies", "too many bodies at one time; come again", 1)

        try:
            if scope["path"].startswith("/v1/"):
                self._check_key(headers)
            if scope["method"] == "POST" and "post" in self._endpoints.get(scope["path"], ()):
                await self._read_body(headers, receive, body, hold)
            await self._app(scope, _replay(body, receive), send)
        except _ClientLeft:
            pass
        except Exception as found:
            error = found if isinstance(found, ApiError) else _unforeseen(found, scope["glow.request_id"])
            more = {"Connection": "close"}  # what is left of the body is not waited for
            if error.status == 401:
                more["WWW-Authenticate"] = "Bearer"
            await error_answer(error, scope["glow.request_id"], more)(scope, receive, send)
        finally:
            body.clear()
            if held > _LARGE:
                # An error that tells where a body is no JSON holds it, in a circle with its traceback.
                gc.collect()
            self._held -= held

    def _check_key(self, headers: Headers) -> None:
        if self._key is None:
            return
        scheme, _, found = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(found.strip().encode(), self._key):
            raise ApiError(401, "no_key", "the key is missing or wrong; expected the header Authorization: Bearer KEY")

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise ApiError(413, "body_too_large", f"a body has at most {self._limits.body_bytes:,} bytes")

    async def _read_body(
        self, headers: Headers, receive: Receive, body: bytearray, hold: Callable[[int], None]
    ) -> None:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "not_json", "the body is of another type; expected Content-Type: application/json")
        declared = headers.get("content-length", "")
        if declared.isdecimal():
            self._check_size(int(declared[:20]))
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _ClientLeft
                    chunk = message.get("body", b"")
                    hold(len(chunk))
                    body.extend(chunk)
                    if not message.get("more_body", False):
                        return
        except TimeoutError as error:
            seconds = f"{self._limits.body_seconds:g}"
            raise ApiError(408, "body_too_slow", f"the body was not there within {seconds} s") from error


def _unforeseen(error: Exception, request_id: str) -> ApiError:
    _LOG.error("request %s failed", request_id, exc_info=error)
    return ApiError(500, "internal_error", "the server failed; its log says more")


class _ClientLeft(Exception):
    """The client closed the connection before its request was complete."""


def _replay(body: bytearray, receive: Receive) -> Callable[[], Awaitable[Any]]:
    """Return a receive that hands over the body, and then what comes after it: that the client left."""
    is_given = False

    async def replayed() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        whole = bytes(body)
        body.clear()  # or it would be held twice
        return {"type": "http.request", "body": whole, "more_body": False}

    return replayed
