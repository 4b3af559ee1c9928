"""The server process: sockets, signals and graceful shutdown."""

import errno
import gc
import logging
import os
import resource
import socket
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State

from glow_app.server.daemon_thread import wait_for_daemon_threads
from glow_app.server.limits import LogFormat
from glow_app.server.log import log_config
from glow_app.server.protocol import PromptProtocol

_LOG = logging.getLogger("uvicorn.error")  # the logger of its startup messages, for the same format
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # names may resolve to IPv6 addresses on a machine without IPv6

STOP_SECONDS = 1  # to deliver answers once the last request is answered
_CONNECTIONS = 4096
_OTHER_FILES = 64  # file descriptors for other files, and for surplus connections until they are closed
_ACCEPTED = 8  # connections accepted at a time
_BACKLOG = 2048  # connections that may wait to be accepted
_ANSWERED_BY = 3.5  # seconds of draining, after which pending requests are refused
_REFUSED_BY = 0.3  # seconds more to deliver these refusals
_LAST_BATCH = 5  # seconds to wait for the model's last batch; most take one


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a port on all addresses of a host, so that errors show before the model is loaded.

    Args:
        host: An address or a name.
        port: The port; 0 for any free one.
    Returns:
        Sockets that do not listen yet.
    Raises:
        ValueError: If the host has no address on this machine, or the port is in use or not permitted.
    """
    absent = OSError(errno.EADDRNOTAVAIL, "it has no addresses")
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(_refused(host, port, absent)) from error
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(infos):
            # All addresses share a port, even if the first bind has chosen a free one.
            shared_port = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bound(family, (address[0], shared_port, *address[2:])))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not sockets:
            raise absent
    except OSError as error:
        for bound in sockets:
            bound.close()
        raise ValueError(_refused(host, port, error)) from error
    return sockets


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    # Without an explicit protocol, asyncio does not set TCP_NODELAY, and answers wait 40 ms for an acknowledgement.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another by --port, or --port 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not for this user; choose one from 1024 by --port"
    if error.errno in _ABSENT:
        return f"{host} is not an address of this machine; expected one such as 127.0.0.1 or 0.0.0.0"
    return f"port {port} of {host} cannot be listened on: {error.strerror}"


def run_server(
    app: FastAPI,
    sockets: Sequence[socket.socket],
    head_seconds: float,
    *,
    log_format: LogFormat,
    log_level: str,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish or refuse accepted requests within 5 s.

    Args:
        app: Application of :func:`create_app`.
        sockets: Sockets of :func:`bind`.
        head_seconds: Time for a connection to send the head of a request.
        log_format: Format of the log.
        log_level: Minimum level to log.
    """
    _allow_many_connections()
    # Spare the existing objects the garbage collections that the gate triggers after large bodies.
    gc.freeze()
    try:
        server = _Server(configured(app, head_seconds, log_format, log_level), app.state)
        server.run(list(sockets))
    finally:
        app.state.worker.stop()
        wait_for_daemon_threads(_LAST_BATCH)


def configured(
    app: FastAPI, head_seconds: float, log_format: LogFormat = "text", log_level: str = "info"
) -> uvicorn.Config:
    """Return the uvicorn configuration of :func:`run_server`."""
    # Trust forwarded addresses only from configured proxies, because any local client could send them.
    proxies = os.environ.get("FORWARDED_ALLOW_IPS", "")
    most_connections = min(_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES)
    return uvicorn.Config(
        app,
        loop="asyncio",  # even if uvloop is installed
        http=type("Protocol", (PromptProtocol,), {"head_seconds": head_seconds, "most_connections": most_connections}),
        backlog=_ACCEPTED,
        ws="none",
        log_config=log_config(log_format, log_level.upper()),
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class _Server(uvicorn.Server):
    """Logs its addresses, and drains before it stops."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state
        self._drained_by: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._state.decoder.start()
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(_BACKLOG)
            address, port = listener.getsockname()[:2]
            address = f"[{address}]" if listener.family == socket.AF_INET6 else address
            _LOG.info("running on http://%s:%d (Ctrl-C to stop)", address, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._captured_signals.append(sig)
        if self._drained_by is not None:  # a second signal stops at once
            self.should_exit = True
        else:
            self._drained_by = time.monotonic() + _ANSWERED_BY

    async def on_tick(self, counter: int) -> bool:
        # While draining, the sockets stay open, so that /readyz and new requests are answered with 503.
        if self._drained_by is not None:
            if not self._state.gate.is_stopping:
                self._state.gate.stop()
            late = time.monotonic() - self._drained_by
            if late > 0:
                self._state.gate.refuse()
            # Do not wait for clients that do not read their answers.
            if self._state.gate.is_idle or self.should_exit or late > _REFUSED_BY:
                return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.gate.refuse()  # requests pending at a second signal, answered while connections close
        await self._state.decoder.close()
        await super().shutdown(sockets)


def _allow_many_connections() -> None:
    # Each idle connection holds a file descriptor; with the usual soft limit of 1,024 they could lock out all others.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
