"""The process: sockets, slow clients, and a stop in good order."""

import asyncio
import errno
import gc
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State

from glow_app.server.daemon_thread import wait_for_daemon_threads
from glow_app.server.limits import LogFormat
from glow_app.server.log import log_config
from glow_app.server.protocol import PromptProtocol

_LOG = logging.getLogger("uvicorn.error")  # in one form with its lines of the start
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # a machine without IPv6 may have names with addresses of it

STOP_SECONDS = 1  # for answers on their way, once the last request has one
_CONNECTIONS = 4096
_OTHER_FILES = 64  # that the process has open, and connections between being taken and being closed for their number
_ACCEPTED = 8  # connections at a time
_BACKLOG = 2048  # connections that wait for that
_ANSWERED_BY = 3.5  # seconds after which what is not done is refused
_REFUSED_BY = 0.3  # seconds more for these answers
_LAST_BATCH = 5  # seconds for the model's last batch, of which most take one


def bind(host: str, port: int) -> list[socket.socket]:
    """Bind a port on all addresses of a host, before anything slow is done.

    Args:
        host: An address, or a name.
        port: Or 0 for one that is free.
    Returns:
        Sockets that do not listen yet.
    Raises:
        ValueError: If the host has no address here, or the port is in use or not for this user.
    """
    absent = OSError(errno.EADDRNOTAVAIL, "it has no addresses")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ValueError(_refused(host, port, absent)) from error
    sockets: list[socket.socket] = []
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
    # With its protocol, or asyncio would not set TCP_NODELAY, and answers would wait 40 ms for an acknowledgement.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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
        return f"{host} is not an address of this machine; expected one such as 127.0.0.1 or 0.0.0.0"
    return f"port {port} of {host} cannot be listened on: {error.strerror}"


def run_server(
    app: FastAPI,
    sockets: Sequence[socket.socket],
    head_seconds: float,
    *,
    log_format: LogFormat,
    log_level: str,
    reload: Callable[[], None],
    hangups: Sequence[int],
) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are then finished or refused within 5 s.

    Args:
        app: From :func:`create_app`.
        sockets: From :func:`bind`.
        head_seconds: Time for a connection to send the head of a request.
        log_format: Format of the log's lines.
        log_level: Lowest level that is logged.
        reload: Called on a thread after SIGHUP; if it raises, the error is logged and the previous model stays.
        hangups: An item for each SIGHUP so far; if there is any, ``reload`` is called once the server listens.
    """
    _allow_many_connections()
    # Existing objects stay: the collections that the gate triggers after large bodies need not visit them.
    gc.freeze()
    try:
        server = _Server(configured(app, head_seconds, log_format, log_level), app.state, reload, hangups)
        server.run(list(sockets))
    finally:
        for worker in app.state.workers:
            worker.stop()
        wait_for_daemon_threads(_LAST_BATCH)


def configured(
    app: FastAPI, head_seconds: float, log_format: LogFormat = "text", log_level: str = "info"
) -> uvicorn.Config:
    """Return the configuration of :func:`run_server`."""
    # Forwarded addresses are trusted only from configured proxies: any local client could send them.
    proxies = os.environ.get("FORWARDED_ALLOW_IPS", "")
    most_connections = min(_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES)
    return uvicorn.Config(
        app,
        loop="asyncio",  # whatever else is installed
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
    """Logs its addresses, drains before it stops, and reloads the model on SIGHUP."""

    def __init__(
        self, config: uvicorn.Config, state: State, reload: Callable[[], None], hangups: Sequence[int]
    ) -> None:
        super().__init__(config)
        self._state = state
        self._reload, self._reloading, self._hangups = reload, threading.Lock(), hangups
        self._drained_by: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._state.decoder.start()
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(_BACKLOG)
            address, port = one.getsockname()[:2]
            address = f"[{address}]" if one.family == socket.AF_INET6 else address
            _LOG.info("running on http://%s:%d (Ctrl-C to stop)", address, port)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._begin_reload)
        if self._hangups:
            self._begin_reload()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._captured_signals.append(sig)
        if self._drained_by is not None:  # the second one: at once
            self.should_exit = True
        else:
            self._drained_by = time.monotonic() + _ANSWERED_BY

    async def on_tick(self, counter: int) -> bool:
        # While requests are answered the sockets stay open, so that /readyz can say 503 to whoever sends more.
        if self._drained_by is not None:
            if not self._state.gate.is_stopping:
                self._state.gate.stop()
            late = time.monotonic() - self._drained_by
            if late > 0:
                self._state.gate.refuse()
            # A client that does not read its answers is not waited for.
            if self._state.gate.is_idle or self.should_exit or late > _REFUSED_BY:
                return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.gate.refuse()  # what a second signal did not wait for; it is answered while connections close
        await self._state.decoder.close()
        await super().shutdown(sockets)

    def _begin_reload(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._reload_or_keep)

    def _reload_or_keep(self) -> None:
        try:
            with self._reloading:  # one after another
                self._reload()
        except Exception as error:
            _LOG.error("the model was not loaded again, and the one before is served: %s", error)
        else:
            _LOG.info("the model was loaded again")


def _allow_many_connections() -> None:
    # Idle connections cost a file descriptor each; the usual soft limit of 1,024 would shut everyone else out.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
