"""The process: sockets, slow clients, and a stop in good order."""

import asyncio
import errno
import gc
import logging
import resource
import socket
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["bind", "configured", "run_server"]

_LOG = logging.getLogger("uvicorn.error")  # in one form with its lines of the start
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a machine without IPv6 may have names with addresses of it

STOP_SECONDS = 5
_ANSWERED_BY = 3.5  # seconds after which what is not done is refused, so that the refusals get out in time


def bind(host: str, port: int) -> list[socket.socket]:
    """Take a port on all addresses of a host, so that it is known to be free before anything slow is done.

    Args:
        host: An address, or a name.
        port: Or 0 for one that is free.
    Returns:
        Sockets that do not listen yet.
    Raises:
        ValueError: If the host has no address here, or the port is in use or not for this user.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{host} is no address of this machine; expected such as 127.0.0.1 or 0.0.0.0") from error
    sockets: list[socket.socket] = []
    absent = OSError(errno.EADDRNOTAVAIL, "it has no addresses")
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            # All on one port, also where the first was given one that was free.
            here = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_bound(family, (address[0], here, *address[2:])))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not sockets:
            raise absent
    except OSError as error:
        for one in sockets:
            one.close()
        raise ValueError(_refused(host, port, error)) from error
    return sockets


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    found = socket.socket(family)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind(address)
    except OSError:
        found.close()
        raise
    return found


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; choose another by --port, or --port 0 for any that is free"
    if error.errno == errno.EACCES:
        return f"port {port} of {host} is not for this user; choose one from 1024 by --port"
    if error.errno in _ABSENT:
        return f"{host} is no address of this machine; expected such as 127.0.0.1 or 0.0.0.0"
    return f"port {port} of {host} cannot be listened on: {error.strerror}"


def run_server(app: FastAPI, sockets: Sequence[socket.socket], head_seconds: float, log_level: str = "info") -> None:
    """Serve until SIGTERM or Ctrl-C; what was taken on is then finished or refused within 5 s.

    Args:
        app: From :func:`create_app`.
        sockets: From :func:`bind`.
        head_seconds: In which a connection has to bring a whole request's head.
        log_level: Of uvicorn.
    """
    _allow_many_connections()
    # What is there now stays: collections, as the gate wants after large bodies, need not look at it.
    gc.freeze()
    # Such pictures are refused with an answer of their own.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    _Server(configured(app, head_seconds, log_level)).run(list(sockets))


def configured(app: FastAPI, head_seconds: float, log_level: str) -> uvicorn.Config:
    """Return what :func:`run_server` runs with."""
    return uvicorn.Config(
        app,
        http=type("Protocol", (_PromptProtocol,), {"head_seconds": head_seconds}),
        ws="none",
        log_level=log_level,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class _Server(uvicorn.Server):
    """Tells where it listens, and the worker to stop as soon as the signal comes."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for one in sockets or ():
            address, port = one.getsockname()[:2]
            address = f"[{address}]" if one.family == socket.AF_INET6 else address
            _LOG.info("running on http://%s:%d (Ctrl-C to stop)", address, port)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.worker.stop(_ANSWERED_BY)
        super().handle_exit(sig, frame)


class _PromptProtocol(H11Protocol):
    """Closes connections on which no request begins, or none gets to the end of its head."""

    head_seconds = 10.0
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(self.head_seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
            self.transport.close()


def _allow_many_connections() -> None:
    # Idle connections cost a file descriptor each; the usual soft limit of 1,024 would shut everyone else out.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
