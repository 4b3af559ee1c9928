"""ASGI middleware in front of the application: host, key, bounded body, queue slot and deadline of each request."""

import asyncio
import gc
import hmac
import ipaddress
import re
import time
import uuid
from collections.abc import Awaitable, Collection, Mapping, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.server.answers import ApiError, error_answer, unavailable
from glow_app.server.limits import Limits
from glow_app.server.monitoring import log_request, queue_metrics
from glow_app.server.worker import ModelWorker

# The page may use only its own scripts and styles, connect only to this server, and not be framed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {  # sent with every answer
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_BODIES = 8  # largest bodies that fit into memory together
_LARGE = 2**20  # bytes of a body after which garbage is collected
_SMALL = 2**12  # bytes of a body that is admitted regardless of the total


class Gate:
    """ASGI middleware around an application.

    Args:
        limits: See :class:`Limits`.
        keys, hosts: See :func:`~glow_app.server.app.create_app`.
        endpoints: Methods of each path of the API, in lower case; all other paths are counted as one.
        worker: The worker, whose backlog says when to try again.
    """

    def __init__(
        self,
        limits: Limits,
        keys: Sequence[str],
        hosts: Sequence[str],
        endpoints: Mapping[str, Collection[str]],
        worker: ModelWorker,
    ) -> None:
        self._limits, self._keys, self._endpoints, self._worker = limits, keys, endpoints, worker
        self._hosts = [host.lower() for host in hosts]
        self.body_bytes = 0  # bytes of bodies in memory
        self.depth = 0  # requests being decoded, queued or computed
        self.metrics, self._seconds = queue_metrics(limits.queue, lambda: self.depth)

    def wrap(self, app: ASGIApp) -> "Gate":
        """Wrap an application, which may raise :class:`ApiError`."""
        self._app = app
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log and count the answer."""
        headers, start, status = Headers(scope=scope), time.perf_counter(), 0
        sent_id = headers.get("x-request-id", "")  # from a proxy; kept if it is safe to log
        request_id = sent_id if re.fullmatch(r"[\w.:=+/-]{1,128}", sent_id, re.ASCII) else uuid.uuid4().hex
        scope["glow.request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                answer["Cache-Control"] = "no-store" if scope["path"].startswith("/v1/") else "no-cache"
            await send(message)

        try:
            await self._handle(scope, headers, receive, send_with_headers)
        except ClientDisconnect:
            pass
        except (Exception, asyncio.CancelledError) as raised:
            if not status:
                # Without closing the connection: most clients read only after they have written the whole body.
                answer = error_answer(raised, scope)
                raised.__traceback__ = None  # would hold the body until the client has read its answer
                await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - start
            endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
            if status:  # 0 if the client left before the answer
                self._seconds.labels(endpoint, status).observe(seconds)
            log_request(scope, status, seconds)

    async def _handle(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._check_host(headers)
        if scope["path"].startswith("/v1/"):
            self._check_key(headers)
        if scope["method"] != "POST" or "post" not in self._endpoints.get(scope["path"], ()):
            await self._app(scope, receive, send)
            return
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "not_json", "the Content-Type must be application/json")
        self._check_size(int(headers.get("content-length", "0")))
        body, size, seconds = bytearray(), 0, self._limits.body_seconds
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._read(body, receive)
            except TimeoutError as error:
                raise ApiError(408, "body_too_slow", f"request body timed out after {seconds:g} s") from error
            finally:
                size = len(body)
            # Before parsing, in which a value takes up to a hundred times its bytes. Base64 has none of these signs.
            if sum(body.count(sign) for sign in b",:[{") > self._limits.values:
                message = f"the body has more than {self._limits.values:,} commas, colons and brackets"
                raise ApiError(422, "too_many_values", message)
            await self._compute(scope, body, receive, send)
        finally:
            self.body_bytes -= size
            if size > _LARGE:  # a JSON error holds the body, in a reference cycle with its traceback
                gc.collect()

    def _check_host(self, headers: Headers) -> None:
        # Against DNS rebinding: pages of other sites whose name resolves to this server's address. Starlette's
        # TrustedHostMiddleware cannot accept any address, by which probes and containers are reached.
        host = ",".join(headers.getlist("host")).lower()
        name = re.sub(r":\d*$", "", host)
        if not (_is_address(name.strip("[]")) or name == "localhost" or any(fnmatchcase(name, h) for h in self._hosts)):
            message = "the Host header is not a name of this server; allow it with --allowed-hosts"
            raise ApiError(421, "unknown_host", message)

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

    async def _read(self, body: bytearray, receive: Receive) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
            body += chunk
            self.body_bytes += len(chunk)
            self._check_size(len(body))
            if self.body_bytes > _BODIES * self._limits.body_bytes and len(body) > _SMALL:
                raise unavailable("too_many_bodies", "too many bodies are being received", 1)

    async def _compute(self, scope: Scope, body: bytearray, receive: Receive, send: Send) -> None:
        if self.depth >= self._limits.queue:
            raise unavailable("queue_full", "the queue is full", max(1, round(self._worker.backlog)))

        async def replay() -> Message:
            whole = bytes(body)
            body.clear()  # keeps a single copy
            return {"type": "http.request", "body": whole, "more_body": False}

        async def send_without_slot(message: Message) -> None:
            slot.close()  # a client that reads its answer slowly must not occupy a slot
            await send(message)

        def release() -> None:
            self.depth -= 1

        with ExitStack() as slot:
            self.depth += 1
            slot.callback(release)
            await _run_until_disconnect(self._app(scope, replay, send_without_slot), receive, self._limits.seconds)


async def _run_until_disconnect(work: Awaitable[None], receive: Receive, seconds: float) -> None:
    """Run work to its end; raise ApiError after some seconds, or ClientDisconnect when the client disconnects."""
    # After the body, the only message is a disconnect.
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(receive())
    try:
        await asyncio.wait([working, leaving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            late = ApiError(504, "too_slow", f"no result within {seconds:g} s")
            raise ClientDisconnect if leaving.done() else late
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait([working, leaving])
    working.result()


def _is_address(name: str) -> bool:
    try:
        return ipaddress.ip_address(name) is not None and "%" not in name  # a scope ID may be any text
    except ValueError:
        return False
