"""Connections: those on which nothing moves are closed, and requests that only cost work are refused."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from glow_app.server.gate import HEADERS

_HEAD_BYTES = 2**15  # of a request's line and headers
_HEADERS = 128
# Pieces of a body: the first number, plus one per second number of bytes. A piece costs about as much as 500 bytes, so
# bodies sent byte by byte on many connections would keep the server busy for seconds.
_PIECES, _PIECE_BYTES = 64, 64
_PIPELINED = 16  # requests on one connection that wait for the answer to an earlier one
_UNREAD_BODIES = 2**16  # bytes of their bodies, and of bodies that are never read; the gate counts the others
_LEAST_BYTES = 2**14  # of its answer that a client must read in the time for a request's head


class PromptProtocol(HttpToolsProtocol):
    """Closes connections on which no request begins, none gets to the end of its head, or no answer is read."""

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
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection, and tell all its requests: of those in a row the base class knows the last alone."""
        if self._timer is not None:
            self._timer.cancel()
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that is too large."""
        self._head += len(data)
        super().data_received(data)
        if self._head > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, with the headers of other answers."""
        more = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(msg)), "Connection": "close"}
        lines = [f"{name.decode()}: {value.decode()}\r\n" for name, value in self.server_state.default_headers]
        lines += [f"{name}: {value}\r\n" for name, value in (more | HEADERS).items()]
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{''.join(lines)}\r\n{msg}".encode())
        self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._pieces, self._body, self._is_head = 0, 0, True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; refuse too many, and trailers, which would be headers that come after they were looked at."""
        if not self._is_head or len(self.headers) >= _HEADERS:
            raise httptools.HttpParserError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin a body; refuse too many requests that wait, a head that is too large, and one that can be misread."""
        self._head, self._is_head = -(2**62), False  # the body is counted elsewhere
        names = [name for name, _ in self.headers]
        # The parser ends such a request with its head, and would take its body for the next request: a proxy in front
        # that does not would give the answers of one client to another.
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
        """Answer a request that offers an upgrade as any other, which HTTP allows, without two warnings for each."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        self._waiting -= len(cycle.body)
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; refuse too many, and large bodies that nobody reads yet or ever."""
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
        """Wait for the next head."""
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
        self._timer = self.loop.call_later(self.head_seconds, self._look)

    def _look(self) -> None:
        """Close a connection that waits for a head, and cut off a client that does not read its answer."""
        unread, is_working = self.transport.get_write_buffer_size(), self.cycle and not self.cycle.response_complete
        if unread and unread > self._unread - _LEAST_BYTES and self._unread:
            self.transport.abort()
        elif unread or is_working:
            self._await_head()
        else:
            self.transport.close()
