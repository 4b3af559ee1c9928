"""The server process: socket, uvicorn and graceful shutdown."""

import gc
import logging
import os
import resource
import socket

import uvicorn
from fastapi import FastAPI

from glow_app.server.limits import LogFormat
from glow_app.server.log import log_config
from glow_app.server.protocol import Protocol

_LOG = logging.getLogger("uvicorn.error")  # the logger of its startup messages, for the same format

STOP_SECONDS = 3  # for requests in progress, which are refused afterwards
_CONNECTIONS = 4096
_OTHER_FILES = 64  # file descriptors for other files


def bind(host: str, port: int) -> socket.socket:
    """Bind a port of a host, so that errors show before the model is loaded.

    Args:
        host: An address or a name.
        port: The port; 0 for any free one.
    Returns:
        A socket that does not listen yet.
    Raises:
        ValueError: If the host has no address on this machine, or the port is in use or not permitted.
    """
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = min(infos, key=lambda info: info[0] != socket.AF_INET)
        # With an explicit protocol, without which asyncio sets no TCP_NODELAY, and answers would wait for 40 ms.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it has no address"
        raise ValueError(
            f"cannot listen on port {port} of {host}: {reason}; choose others by --host, --port"
        ) from error
    return bound


def run_server(app: FastAPI, bound: socket.socket, head_seconds: float, log_format: LogFormat, log_level: str) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish or refuse accepted requests within 5 s.

    Args:
        app: Application of :func:`create_app`.
        bound: Socket of :func:`bind`.
        head_seconds: Time for a connection to send the head of a request.
        log_format: Format of the log.
        log_level: Minimum level to log.
    """
    # Each idle connection holds a file descriptor; with the usual soft limit of 1,024 they could lock out all others.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
    # Spare the existing objects the garbage collections after large bodies.
    gc.freeze()
    server = uvicorn.Server(configured(app, head_seconds, log_format, log_level))
    host, port = bound.getsockname()[:2]
    _LOG.info("running on http://%s:%d (Ctrl-C to stop)", f"[{host}]" if ":" in host else host, port)
    service = app.state.service
    service.decoder.start()
    try:
        server.run([bound])
    finally:
        service.close()


def configured(
    app: FastAPI, head_seconds: float, log_format: LogFormat = "text", log_level: str = "info"
) -> uvicorn.Config:
    """Return the uvicorn configuration of :func:`run_server`."""
    # Trust forwarded addresses only from configured proxies, because any local client could send them.
    proxies = os.environ.get("FORWARDED_ALLOW_IPS", "")
    return uvicorn.Config(
        app,
        loop="asyncio",  # even if uvloop is installed
        http=type("Protocol", (Protocol,), {"head_seconds": head_seconds}),
        ws="none",
        lifespan="off",
        log_config=log_config(log_format, log_level.upper()),
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        server_header=False,
        limit_concurrency=min(_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES),
        timeout_keep_alive=int(head_seconds) or 1,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
