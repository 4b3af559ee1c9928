"""The server process: uvicorn with time limits for clients, and its graceful shutdown."""

import asyncio
import resource

import httptools
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from glow_app.server.limits import LogFormat
from glow_app.server.monitoring import log_config

STOP_SECONDS = 3  # for requests in progress; those that take longer are refused
_CONNECTIONS = 4096
_OTHER_FILES = 64  # file descriptors for other files
_MAX_HEAD_BYTES = 2**15
_LEAST_BYTES = 2**14  # that a client must read of its answer in the time for a head


def run_server(app: FastAPI, config: uvicorn.Config) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish or refuse accepted requests within 5 s."""
    service = app.state.service
    service.decoder.start()
    try:
        uvicorn.Server(config).run()
    finally:
        service.close()


def server_config(
    app: FastAPI, host: str, port: int, head_seconds: float, log_format: LogFormat = "text", log_level: str = "info"
) -> uvicorn.Config:
    """Return the configuration of a server; clients have ``head_seconds`` to send the head of a request."""
    # Each idle connection holds a file descriptor; with the usual soft limit of 1,024 they could lock out all others.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, min(hard, 65_536))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return uvicorn.Config(
        app,
        host,
        port,
        loop="asyncio",  # even if uvloop is installed
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=log_config(log_format, log_level.upper()),
        access_log=False,
        server_header=False,
        limit_concurrency=min(_CONNECTIONS, files - _OTHER_FILES),
        timeout_keep_alive=head_seconds,  # type: ignore[arg-type]  # any number
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class Protocol(HttpToolsProtocol):
    """Closes connections whose client sends no complete request head in time, or does not read its answer.

    Based on httptools: h11, the other parser of uvicorn, takes seconds for 256 KiB of one-byte chunks.
    """

    _timer: asyncio.TimerHandle | None = None
    _is_head, _has_read = True, False
    _head = _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self._expect_progress()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; refuse a head that is too large."""
        self._head += len(data)
        super().data_received(data)
        if self._is_head and self._head > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Request head too large.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; refuse trailers, whose number has no limit, and which would change the checked headers."""
        if not self._is_head:
            raise httptools.HttpParserError("trailers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start a request; refuse ambiguous ones, and those sent before the previous answer."""
        names = {name for name, _ in self.headers}
        # For such a request, the parser would take the body for the next request. Behind a proxy that does not, answers
        # would reach the wrong client (request smuggling).
        has_body = not names.isdisjoint({b"content-length", b"transfer-encoding"})
        if self.parser.should_upgrade() and (has_body or self.parser.get_method() == b"CONNECT"):
            raise httptools.HttpParserError("an upgrade with a body")
        if self.cycle is not None and not self.cycle.response_complete:
            raise httptools.HttpParserError("a request before the previous answer")
        self._is_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start to count the bytes of the next head."""
        self._is_head, self._head = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the client to read, and for its next request."""
        super().on_response_complete()
        self._expect_progress()

    def resume_writing(self) -> None:
        """Note that the client has read most of what was sent."""
        self._has_read = True
        super().resume_writing()

    def _expect_progress(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._unsent, self._has_read = self.transport.get_write_buffer_size(), False
        self._timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_stalled)

    def _close_if_stalled(self) -> None:
        unsent, is_working = self.transport.get_write_buffer_size(), self.cycle and not self.cycle.response_complete
        if self._unsent and unsent > max(0, self._unsent - _LEAST_BYTES) and not self._has_read:
            self.transport.abort()
        elif unsent or is_working:
            self._expect_progress()
        else:
            self.transport.close()
