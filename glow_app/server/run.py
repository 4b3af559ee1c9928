"""The server process: uvicorn, its limits and its graceful shutdown."""

import gc
import os
import resource

import uvicorn
from fastapi import FastAPI

from glow_app.server.limits import LogFormat
from glow_app.server.log import log_config
from glow_app.server.protocol import Protocol

STOP_SECONDS = 3  # for requests in progress, which are refused afterwards
_CONNECTIONS = 4096
_OTHER_FILES = 64  # file descriptors for other files


def run_server(app: FastAPI, config: uvicorn.Config) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish or refuse accepted requests within 5 s."""
    gc.freeze()  # spare the existing objects the garbage collections after large bodies
    service = app.state.service
    service.decoder.start()
    try:
        uvicorn.Server(config).run()
    finally:
        service.close()


def configured(
    app: FastAPI,
    host: str,
    port: int,
    head_seconds: float,
    log_format: LogFormat = "text",
    log_level: str = "info",
) -> uvicorn.Config:
    """Return the configuration of a server; a connection has ``head_seconds`` to send the head of a request."""
    # Each idle connection holds a file descriptor; with the usual soft limit of 1,024 they could lock out all others.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = max(soft, min(hard, 65_536))
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    # Trust forwarded addresses only from configured proxies, because any local client could send them.
    proxies = os.environ.get("FORWARDED_ALLOW_IPS", "")
    return uvicorn.Config(
        app,
        host,
        port,
        loop="asyncio",  # even if uvloop is installed
        http=type("Protocol", (Protocol,), {"head_seconds": head_seconds}),
        ws="none",
        lifespan="off",
        log_config=log_config(log_format, log_level.upper()),
        access_log=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=proxies or None,
        server_header=False,
        limit_concurrency=min(_CONNECTIONS, files - _OTHER_FILES),
        timeout_keep_alive=max(1, int(head_seconds)),
        timeout_graceful_shutdown=STOP_SECONDS,
    )
