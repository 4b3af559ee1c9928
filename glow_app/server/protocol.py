"""The HTTP protocol: closes stalled connections, and refuses requests that exist only to cost work."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from glow_app.server.gate import HEADERS

_HEAD_BYTES = 2**15  # maximum size of the request line and headers
_HEADERS = 128
# Maximum number of pieces of a body: ``_PIECES``, plus one per ``_PIECE_BYTES``. A piece costs about as much as 500
# bytes, so bodies sent byte by byte on many connections would keep the server busy for seconds.
_PIECES, _PIECE_BYTES = 64, 64
_PIPELINED = 16  # maximum number of pipelined requests that wait for the answer to an earlier one
_UNREAD_BODIES = 2**16  # maximum bytes of their bodies, and of bodies that are never read; the gate counts the others
_LEAST_BYTES = 2**14  # of its answer that a client must read in the time allowed for a request head


class PromptProtocol(HttpToolsProtocol):
    """Closes connections whose client sends no complete request head in time, or does not read its answer."""

    head_seconds = 10.0
    most_connections = 4096
    _timer: asyncio.TimerHandle | None = None
    _head = 0
    _is_head = True
    _running: RequestResponseCycle | None = None
    _pieces = 0
    _body = 0
    _waiting = 0
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Disconnect all requests of a connection; the base class would miss all but the last of pipelined ones."""
        if self._timer is not None:
            self._timer.cancel()
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; refuse a head that is too large."""
        self._head += len(data)
        super().data_received(data)
        if self._head > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP, with the usual headers."""
        more = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(msg)), "Connection": "close"}
        lines = [f"{name.decode()}: {value.decode()}\r\n" for name, value in self.server_state.default_headers]
        lines += [f"{name}: {value}\r\n" for name, value in (more | HEADERS).items()]
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{''.join(lines)}\r\n{msg}".encode())
        self.transport.close()

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._pieces, self._body, self._is_head = 0, 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; refuse too many, and trailers, which would change the headers after they were checked."""
        if not self._is_head or len(self.headers) >= _HEADERS:
            raise httptools.HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a body; refuse heads that are too large or ambiguous, and too many pipelined requests."""
        self._head, self._is_head = -(2**62), False  # the body is counted elsewhere
        names = [name for name, _ in self.headers]
        # For such a request, the parser would take the body for the next request. Behind a proxy that does not, answers
        # would reach the wrong client (request smuggling).
        has_body = b"content-length" in names or b"transfer-encoding" in names
        if self.parser.should_upgrade() and (has_body or self.parser.get_method() == b"CONNECT"):
            raise httptools.HttpParserError("a body beside an upgrade")
        if names.count(b"host") > 1:
            raise httptools.HttpParserError("two hosts")
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _HEAD_BYTES:
            raise httptools.HttpParserError("too large a head")
        if len(self.pipeline) >= _PIPELINED:
            raise httptools.HttpParserError("too many requests")
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore an offered upgrade, as HTTP allows, without the two warnings of the base class."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        self._waiting -= len(cycle.body)
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Add a piece of a body; refuse too many pieces, and large bodies that are not read yet or ever."""
        self._pieces += 1
        self._body += len(body)
        if self._pieces > _PIECES + self._body // _PIECE_BYTES:
            raise httptools.HttpParserError("too many pieces")
        unread = 0
        if self.cycle is not self._running:
            unread = self._waiting = self._waiting + len(body)
        elif self.cycle.scope["method"] != "POST":
            unread = len(self.cycle.body) + len(body)
        if unread > _UNREAD_BODIES:
            raise httptools.HttpParserError("too large a body")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Start to count the bytes of the next head."""
        self._head = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, and for the client to read."""
        super().on_response_complete()
        self._await_head()

    def _await_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unread = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(self.head_seconds, self._close_if_stalled)

    def _close_if_stalled(self) -> None:
        """Close an idle connection, and abort that of a client that does not read its answer."""
        unread, is_working = self.transport.get_write_buffer_size(), self.cycle and not self.cycle.response_complete
        if unread and unread > self._unread - _LEAST_BYTES and self._unread:
            self.transport.abort()
        elif unread or is_working:
            self._await_head()
        else:
            self.transport.close()
