"""The outer ASGI middleware: host, key, headers, log and metrics of each request, and the answers to all errors."""

import asyncio
import hmac
import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Collection, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glow_app.server.errors import ApiError, ClientLeftError, error_answer, stopping
from glow_app.server.log import log_request
from glow_app.server.metrics import Metrics

_LOG = logging.getLogger("glow_app.server")

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
# Maximum bytes of a refused body to discard before the answer, and seconds to do so. Most clients write the whole body
# before they read: closing the connection earlier would reset it, and hide the answer from them.
_DISCARDED, _DISCARD_SECONDS = 2**26, 1.0


class Gate:
    """Middleware around an application.

    Args:
        app: The application; may raise :class:`ApiError`.
        keys: Accepted keys for requests below ``/v1/``, sent as ``Authorization: Bearer KEY``; none if empty.
        hosts: Accepted names in the ``Host`` header, besides addresses and ``localhost``; ``*`` matches anything.
        endpoints: Paths counted separately; all other paths share a counter.
        metrics: Counts every answer.
    """

    def __init__(
        self, app: ASGIApp, keys: Sequence[str], hosts: Sequence[str], endpoints: Collection[str], metrics: Metrics
    ) -> None:
        self._app, self._keys, self._endpoints, self._metrics = app, keys, endpoints, metrics
        self._hosts = [host.lower() for host in hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log and count the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, begun, status = Headers(scope=scope), time.perf_counter(), 0
        request_id = scope["glow.request_id"] = _request_id(headers)
        is_unread = "content-length" in headers or "transfer-encoding" in headers

        async def receive_body() -> Message:
            nonlocal is_unread
            message = await receive()
            is_unread = message.get("more_body", False)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
                if scope["path"].startswith("/v1/"):
                    answer["Cache-Control"] = "no-store"
            await send(message)

        try:
            self._check(scope["path"], headers)
            await self._app(scope, receive_body, send_with_headers)
        except (Exception, asyncio.CancelledError) as raised:
            raised.__traceback__ = None  # would hold the body until the client has read its answer
            if not status and not isinstance(raised, ClientLeftError):
                error = _error_of(raised, request_id)
                if is_unread and not isinstance(raised, asyncio.CancelledError):
                    await _discard(receive)
                await error_answer(error, request_id, {"Connection": "close"})(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - begun
            if status:  # 0 if the client left before the answer
                self._metrics.answered(scope["path"] if scope["path"] in self._endpoints else "other", status, seconds)
            log_request(scope, status, seconds)

    def _check(self, path: str, headers: Headers) -> None:
        # Against DNS rebinding: pages of other sites whose name resolves to this server's address. Starlette's
        # TrustedHostMiddleware cannot accept any address, as probes and the containers' own need.
        host = ",".join(headers.getlist("host")).lower()
        name = re.sub(r":\d*$", "", host)
        if not (_is_address(name.strip("[]")) or name == "localhost" or any(fnmatchcase(name, h) for h in self._hosts)):
            message = "the Host header names another server; add the name with --allowed-hosts"
            raise ApiError(421, "unknown_host", message)
        if self._keys and path.startswith("/v1/"):
            scheme, _, credentials = headers.get("authorization", "").partition(" ")
            sent = credentials.strip().encode()
            if scheme.lower() != "bearer" or not any(hmac.compare_digest(sent, key.encode()) for key in self._keys):
                message = "the key is missing or wrong; expected the header Authorization: Bearer KEY"
                raise ApiError(401, "no_key", message, {"WWW-Authenticate": "Bearer"})


def _request_id(headers: Headers) -> str:
    """Return the request ID set by a proxy if it is safe to log, or else a new one."""
    request_id = headers.get("x-request-id", "")
    return request_id if re.fullmatch(r"[\w.:=+/-]{1,128}", request_id, re.ASCII) else uuid.uuid4().hex


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name  # a scope ID may be any text


def _error_of(raised: BaseException, request_id: str) -> ApiError:
    if isinstance(raised, ApiError):
        return raised
    if isinstance(raised, asyncio.CancelledError):  # uvicorn cancels what a stopping server has not finished
        return stopping()
    _LOG.error("request %s failed", request_id, exc_info=raised)
    return ApiError(500, "internal_error", "the server failed; its log says more")


async def _discard(receive: Receive) -> None:
    remaining = _DISCARDED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while remaining > 0 and (message := await receive()).get("more_body", False):
                remaining -= len(message["body"])
