"""Connections: those on which nothing moves are closed, and requests that only cost work are refused."""

import asyncio

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["PromptProtocol"]

_HEAD_BYTES = 2**16  # of a request's line and headers
_HEADERS = 128
_PIECES = 2**14  # of a body; a client that sends 8 MiB byte by byte would keep the server busy for seconds
_PIPELINED = 16  # requests on one connection that wait for the answer to an earlier one
_CONNECTIONS = 10_000
_LEAST_BYTES = 2**14  # that a client reads of its answer in the time that it has for a request's head


class PromptProtocol(HttpToolsProtocol):
    """Closes connections on which no request begins, none gets to the end of its head, or no answer is read."""

    head_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None
    _head = 0
    _pieces = 0
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse a head that is too large."""
        self._head += len(data)
        super().data_received(data)
        if self._head > _HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._pieces = 0

    def on_headers_complete(self) -> None:
        """Begin a body; refuse too many headers, or requests that wait."""
        self._head = -(2**62)  # the body is counted elsewhere
        if len(self.headers) > _HEADERS or len(self.pipeline) >= _PIPELINED:
            raise httptools.HttpParserError("too many headers or requests")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body; refuse too many."""
        self._pieces += 1
        if self._pieces > _PIECES:
            raise httptools.HttpParserError("too many pieces")
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
