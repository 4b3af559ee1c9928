"""ASGI middleware in front of the application: host, key, bounded body, queue slot and deadline of each request."""

import asyncio
import gc
import hmac
import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.messages import pluralise
from glow_app.server.errors import ApiError, answer_and_discard, error_answer, stopping
from glow_app.server.limits import Limits
from glow_app.server.log import log_request
from glow_app.server.visit import ClientLeftError, Visit

_LOG = logging.getLogger("glow_app.server")

_LARGE = 2**20  # bytes of a body after which garbage is collected
_SMALL = 2**12  # bytes of a body that is admitted regardless of the total

# The page may use only its own scripts and styles, connect only to this server, and not be framed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {  # sent with every answer
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """ASGI middleware around the application.

    Args:
        limits: See :class:`Limits`.
        keys: Accepted keys for requests below ``/v1/``, sent as ``Authorization: Bearer KEY``; none if empty.
        hosts: Accepted names in the ``Host`` header, besides addresses and ``localhost``; ``*`` matches anything.
        endpoints: Paths counted separately, with their methods in lower case; all other paths share a counter.
        answered: Called with endpoint, status and seconds of every answer.
        backlog: Returns the estimated seconds of queued work.
    """

    def __init__(
        self,
        limits: Limits,
        keys: Sequence[str],
        hosts: Sequence[str],
        endpoints: Mapping[str, Collection[str]],
        answered: Callable[[str, int, float], None],
        backlog: Callable[[], float],
    ) -> None:
        self._limits, self._answered, self._backlog = limits, answered, backlog
        self.keys = list(keys)
        self._hosts = [host.lower() for host in hosts]
        self._endpoints = endpoints
        self._visits: dict[Visit, None] = {}  # in order of arrival
        self.is_stopping = False
        self.held = 0  # bytes of bodies in memory
        self.depth = 0  # requests being decoded, queued or computed

    def around(self, app: ASGIApp) -> "Gate":
        """Wrap an application."""
        self._app = app
        return self

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return not self._visits

    def stop(self) -> None:
        """Accept no further requests, and refuse those with an incomplete body."""
        self.is_stopping = True
        self.refuse(lambda visit: not visit.has_slot)

    def refuse(self, which: Callable[[Visit], bool] = lambda _: True) -> None:
        """Answer requests in progress with 503."""
        for visit in list(self._visits):
            if which(visit):
                visit.end(stopping())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = scope["glow.request_id"] = _request_id(headers)
        begun, status, seconds = time.perf_counter(), 0, 0.0
        visit = Visit()

        async def send_with_headers(message: Message) -> None:
            nonlocal status, seconds
            is_start = message["type"] == "http.response.start"
            if is_start:
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if scope["path"].startswith("/v1/"):
                    answer["Cache-Control"] = "no-store"
            await send(message)  # waits while the client leaves earlier answers unread
            seconds = time.perf_counter() - begun
            if is_start:
                visit.is_answered = True

        self._visits[visit] = None
        try:
            await self._respond(visit, scope, headers, receive, send_with_headers)
        finally:
            visit.close()
            self._visits.pop(visit)
            endpoint = scope["path"] if scope["path"] in self._endpoints else "other"
            if status:  # 0 if the client left before the answer
                self._answered(endpoint, status, seconds)
            log_request(scope, status, seconds)

    async def _respond(self, visit: Visit, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            await self._handle(visit, scope, headers, receive, send)
            return
        except asyncio.CancelledError:
            if visit.reason is None:
                raise
            visit.settle()
            reason = visit.reason
        except ClientLeftError:
            return
        except Exception as raised:
            reason = raised if isinstance(raised, ApiError) else _unexpected(raised, scope["glow.request_id"])
            raised.__traceback__ = None  # would hold the body until the client has read its answer
        finally:
            self.held -= visit.held
            self.depth -= visit.has_slot
            if visit.held > _LARGE:
                # A JSON error holds the body, in a reference cycle with its traceback.
                gc.collect()
        if isinstance(reason, ApiError):
            more = {"Connection": "close"}  # the rest of the body is not read
            if reason.status == 401:
                more["WWW-Authenticate"] = "Bearer"
            answer = error_answer(reason, scope["glow.request_id"], more)
            unread = scope["method"] == "POST" and not visit.is_read and not self.is_stopping
            await (answer_and_discard(answer, scope, receive, send) if unread else answer(scope, receive, send))

    async def _handle(self, visit: Visit, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._check_host(headers)
        if "content-length" in headers and "transfer-encoding" in headers:
            raise ApiError(400, "two_lengths", "both Content-Length and Transfer-Encoding; expected one of them")
        if scope["path"].startswith("/v1/"):
            self._check_key(headers)
        if scope["method"] != "POST" or "post" not in self._endpoints.get(scope["path"], ()):
            await self._app(scope, receive, send)
            return
        if self.is_stopping:
            raise stopping()
        body = await self._read_body(visit, headers, receive)
        self._take_slot(visit)
        seconds = self._limits.seconds
        visit.expire(seconds, ApiError(504, "too_slow", f"there was no result within {seconds:g} s"))
        watching = asyncio.create_task(visit.watch(receive))
        try:
            await self._app(scope, _replay(body), send)
        finally:
            watching.cancel()

    def _take_slot(self, visit: Visit) -> None:
        visit.has_slot = True
        self.depth += 1
        if self.depth > self._limits.queue:
            waiting = f"{pluralise(self.depth - 1, 'request')} {'is' if self.depth == 2 else 'are'}"
            after = max(1, round(self._backlog()))
            raise ApiError(503, "queue_full", f"{waiting} waiting; try again in {after} s", after)

    def _check_host(self, headers: Headers) -> None:
        # Against DNS rebinding: pages of other sites whose name resolves to this server's address.
        host = headers.get("host", "").lower()
        name = re.sub(r":\d*$", "", host)
        if _is_address(name.strip("[]")) or name == "localhost" or any(fnmatchcase(name, host) for host in self._hosts):
            return
        raise ApiError(421, "unknown_host", "the Host header names another server; add the name with --allowed-hosts")

    def _check_key(self, headers: Headers) -> None:
        if not self.keys:
            return
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        sent = credentials.strip().encode()
        if scheme.lower() != "bearer" or not any(hmac.compare_digest(sent, key.encode()) for key in self.keys):
            raise ApiError(401, "no_key", "the key is missing or wrong; expected the header Authorization: Bearer KEY")

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            raise ApiError(413, "body_too_large", f"a body has at most {self._limits.body_bytes:,} bytes")

    async def _read_body(self, visit: Visit, headers: Headers, receive: Receive) -> bytearray:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "not_json", "the body is of another type; expected Content-Type: application/json")
        declared = headers.get("content-length", "")
        if declared.isdecimal():
            self._check_size(int(declared[:20]))
        seconds = self._limits.body_seconds
        visit.expire(seconds, ApiError(408, "body_too_slow", f"the body was not there within {seconds:g} s"))
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            visit.is_read = not more
            visit.held += len(chunk)
            self.held += len(chunk)
            self._check_size(visit.held)
            if self.held > self._limits.all_bodies_bytes and visit.held > _SMALL:
                raise ApiError(503, "too_many_bodies", "too many bodies at one time; try again in 1 s", 1)
            body.extend(chunk)
        self._check_structure(body)
        return body

    def _check_structure(self, body: bytearray) -> None:
        # Before parsing, in which a value takes up to a hundred times its bytes. Base64 has none of these characters.
        if sum(body.count(sign) for sign in b",:[{") > self._limits.values:
            message = f"the body holds too many values; at most {self._limits.values:,} commas, colons and brackets"
            raise ApiError(422, "too_many_values", message)


def _request_id(headers: Headers) -> str:
    """Return the request ID set by a proxy if it is safe to log, or else a new one."""
    request_id = headers.get("x-request-id", "")
    return request_id if re.fullmatch(r"[\w.:=+/-]{1,128}", request_id, re.ASCII) else uuid.uuid4().hex


@lru_cache(1024)  # parsing takes a twentieth of the time for a small request
def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # a scope ID may be any text


def _unexpected(error: Exception, request_id: str) -> ApiError:
    _LOG.error("request %s failed", request_id, exc_info=error)
    return ApiError(500, "internal_error", "the server failed; its log says more")


def _replay(body: bytearray) -> Callable[[], Awaitable[Any]]:
    """Return an ASGI receive function that returns the body once."""

    async def replayed() -> Message:
        whole = bytes(body)
        body.clear()  # keeps a single copy
        return {"type": "http.request", "body": whole, "more_body": False}

    return replayed
