"""The server process: uvicorn with limits for heads, and its graceful shutdown."""

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
    """Refuses heads that are too large or too slow, trailers, and what a proxy may read as another request.

    Based on httptools: h11, the other parser of uvicorn, takes seconds for 256 KiB of one-byte chunks.
    """

    _is_head, _head = True, 0
    _num_heads = _num_seen = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; close it if the head of its first or a later request does not come in time."""
        super().connection_made(transport)
        self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        is_working = not self._is_head or (self.cycle is not None and not self.cycle.response_complete)
        if not is_working and self._num_heads == self._num_seen:
            self.transport.close()
        elif not self.transport.is_closing():
            self._num_seen = self._num_heads
            self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

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
        """Start a request; refuse an upgrade with a body, which the parser would take for the next request."""
        has_body = not {name for name, _ in self.headers}.isdisjoint({b"content-length", b"transfer-encoding"})
        if self.parser.should_upgrade() and (has_body or self.parser.get_method() == b"CONNECT"):
            raise httptools.HttpParserError("an upgrade with a body")
        self._is_head, self._num_heads = False, self._num_heads + 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Start to count the bytes of the next head."""
        self._is_head, self._head = True, 0
        super().on_message_complete()
