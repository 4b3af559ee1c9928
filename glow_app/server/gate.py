"""Checks of each request: host and key; of requests with a body also its size, a slot in the queue and a deadline."""

import asyncio
import hmac
import ipaddress
import re
import time
import uuid
from collections.abc import Callable, Collection, Coroutine, Sequence
from fnmatch import fnmatchcase
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.server.answers import FORM, JSON, ApiError, answer_error, unavailable
from glow_app.server.bodies import ParsedRequest, hold_files, parts_of, values_of_form, values_of_json
from glow_app.server.limits import Limits
from glow_app.server.model_thread import ModelThread
from glow_app.server.monitoring import log_request, queue_metrics

_HEADERS = {  # sent with every answer
    # The page may use only its own scripts and styles, connect only to this server, and not be framed.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BODIES = 5  # bodies of the largest size that are held in memory at once
_SMALL = 2**12  # bytes of a body that is admitted regardless of the total
_PIECE = 2**16  # bytes of an answer that are sent at once

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Gate:
    """ASGI middleware around an application.

    Args:
        limits: See :class:`Limits`.
        keys, hosts: See :func:`~glow_app.server.app.create_app`.
        endpoints: Paths of the API; all other paths are counted as one.
        thread: The model's thread, whose waiting calls say when to try again.
    """

    def __init__(
        self, limits: Limits, keys: Sequence[str], hosts: Sequence[str], endpoints: Collection[str], thread: ModelThread
    ) -> None:
        self._limits, self._keys, self._endpoints, self._thread = limits, keys, endpoints, thread
        self._hosts = [host.lower() for host in hosts]
        self.body_bytes = 0  # bytes of bodies in memory whose pictures are not yet decoded
        self.depth = 0  # requests being decoded, queued, computed or answered
        self.metrics, self._seconds = queue_metrics(limits.queue, lambda: self.depth)

    def wrap(self, app: ASGIApp) -> "Gate":
        """Wrap an application, which may raise :class:`ApiError`."""
        self._app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log and count the answer."""
        headers, start, status = Headers(scope=scope), time.perf_counter(), 0
        slots: list[int] = []  # 1 if the request takes a slot of the queue
        scope["glow.slots"] = slots
        sent_id = headers.get("x-request-id", "")  # from a proxy; kept if it is safe to log
        request_id = sent_id if re.fullmatch(r"[\w.:=+/-]{1,128}", sent_id, re.ASCII) else uuid.uuid4().hex
        scope["glow.request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                sent = MutableHeaders(scope=message)
                sent["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    sent.setdefault(name, value)
                sent["Cache-Control"] = "no-store" if scope["path"].startswith("/v1/") else "no-cache"
            # In pieces, each of which waits until the client has read most of those before it, but not for ever.
            body = memoryview(message.get("body", b""))
            for start in range(0, len(body) or 1, _PIECE):
                more = start + _PIECE < len(body) or message.get("more_body", False)
                async with asyncio.timeout(self._limits.body_seconds):
                    await send(
                        {**message, "body": body[start : start + _PIECE], "more_body": more} if body else message
                    )

        try:
            self._check_host(headers)
            if scope["path"].startswith("/v1/"):
                self._check_key(headers)
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass
        except (Exception, asyncio.CancelledError) as raised:
            if not status:
                # Without closing the connection: most clients read only after they have written the whole body.
                answer = await answer_error(Request(scope), raised)
                await answer(scope, receive, send_with_headers)
        finally:
            self.depth -= sum(slots)
            seconds = time.perf_counter() - start
            endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
            if status:  # 0 if the client left before the answer
                self._seconds.labels(endpoint, status).observe(seconds)
            log_request(scope, status, seconds)

    def _check_host(self, headers: Headers) -> None:
        # Against DNS rebinding: pages of other sites whose name resolves to this server's address. Starlette's
        # TrustedHostMiddleware cannot accept any address, by which probes and containers are reached.
        name = _without_port(",".join(headers.getlist("host")).lower())
        if not (_is_address(name.strip("[]")) or name == "localhost" or self._is_allowed(name)):
            message = "the Host header is not a name of this server; allow it with --allowed-hosts"
            raise ApiError(421, "unknown_host", message)

    def _is_allowed(self, name: str) -> bool:
        return any(fnmatchcase(name, allowed) for allowed in self._hosts)

    def _check_origin(self, headers: Headers) -> None:
        # A page of another site may send a form without asking first. Browsers tell, older ones only by the origin.
        origin = headers.get("origin", "").lower().partition("://")[2]
        is_own = "origin" not in headers or origin == headers.get("host", "").lower()
        if "sec-fetch-site" in headers:
            is_own = headers["sec-fetch-site"] in ("same-origin", "none")
        if not is_own and not self._is_allowed(_without_port(origin)):
            message = "a page of another site sent this request; allow its host name with --allowed-hosts"
            raise ApiError(403, "other_origin", message)

    def _check_key(self, headers: Headers) -> None:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        sent = credentials.strip().encode()
        is_known = scheme.lower() == "bearer" and any(hmac.compare_digest(sent, key.encode()) for key in self._keys)
        if self._keys and not is_known:
            message = "missing or wrong key; send the header Authorization: Bearer KEY"
            raise ApiError(401, "no_key", message, {"WWW-Authenticate": "Bearer"})

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise ApiError(413, "body_too_large", f"the body exceeds {self._limits.body_bytes:,} bytes")

    async def admit(self, request: Request, handle: Handler, media_types: Sequence[str]) -> Response:
        """Receive the body of a request, and return the response that ``handle`` computes in a slot of the queue."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in media_types:
            raise ApiError(415, "unknown_content_type", f"the Content-Type must be {' or '.join(media_types)}")
        self._check_origin(request.headers)
        self._check_size(int(request.headers.get("content-length", "0")))
        size, counted_bytes, seconds = 0, 0, self._limits.body_seconds

        def count(num_bytes: int) -> None:
            nonlocal counted_bytes
            counted_bytes += num_bytes
            self.body_bytes += num_bytes

        async def receive() -> Message:
            nonlocal size
            message = await request.receive()
            arrived = len(message.get("body", b""))
            size += arrived
            count(arrived)
            self._check_size(size)
            if self.body_bytes > _BODIES * self._limits.body_bytes and size > _SMALL:
                raise unavailable("too_many_bodies", "too many requests are being received", 1)
            return message

        try:
            received = Request(request.scope, receive)
            try:
                async with asyncio.timeout(seconds):
                    await received.body()  # which keeps it
            except TimeoutError as error:
                raise ApiError(408, "body_too_slow", f"request body timed out after {seconds:g} s") from error
            if media_type in (JSON, FORM):
                values = hold_files(await self._values_of(received, media_type), lambda done: count(-done))
                received = ParsedRequest(received, values)
            else:
                body = await received.body()
                self._check_values([body[8 : 8 + int.from_bytes(body[:8], "little")]])  # the JSON in safetensors
            if self.depth >= self._limits.queue:
                raise unavailable("queue_full", "the queue is full", max(1, self._thread.num_waiting))
            self.depth += 1
            request.scope["glow.slots"].append(1)
            return await self._until_disconnect(handle(received), request.receive)
        finally:
            count(-counted_bytes)

    async def _values_of(self, received: Request, media_type: str) -> Any:
        if media_type == FORM:
            parts = await parts_of(received)
            self._check_values([value.encode() for _, value in parts if isinstance(value, str)])
            return values_of_form(parts)
        body = await received.body()
        self._check_values([body])
        return await asyncio.to_thread(values_of_json, body)

    def _check_values(self, texts: Sequence[bytes]) -> None:
        # Before parsing, in which a value takes up to a hundred times its bytes. Base64 has none of these signs.
        if sum(text.count(sign) for text in texts for sign in b",:[{") > self._limits.values:
            message = f"the body has more than {self._limits.values:,} commas, colons and brackets"
            raise ApiError(422, "too_many_values", message)

    async def _until_disconnect(self, answer: Coroutine[Any, Any, Response], receive: Receive) -> Response:
        working = asyncio.ensure_future(answer)
        leaving = asyncio.ensure_future(receive())  # after the body, the only message is a disconnect
        try:
            await asyncio.wait([working, leaving], timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                late = ApiError(504, "too_slow", f"no result within {self._limits.seconds:g} s")
                raise ClientDisconnect if leaving.done() else late
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.wait([working, leaving])
        return working.result()


class GatedRoute(APIRoute):
    """A route whose requests with a body pass :meth:`Gate.admit`."""

    def get_route_handler(self) -> Handler:
        """Return the function that answers a request."""
        handle = super().get_route_handler()
        if not self.body_field:
            return handle
        media_type = getattr(self.body_field.field_info, "media_type", JSON)
        media_types = (JSON, FORM) if media_type == JSON else (media_type,)

        async def admitted(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            return await gate.admit(request, handle, media_types)

        return admitted


def _without_port(host: str) -> str:
    return re.sub(r":\d*$", "", host)


def _is_address(name: str) -> bool:
    try:
        return ipaddress.ip_address(name) is not None and "%" not in name  # a scope ID may be any text
    except ValueError:
        return False
