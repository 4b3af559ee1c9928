"""The process: sockets, slow clients, and a stop in good order."""

import asyncio
import gc
import resource
import warnings
from types import FrameType

import uvicorn
from fastapi import FastAPI
from PIL import Image
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["configured", "run_server"]

STOP_SECONDS = 5
_ANSWERED_BY = 3.5  # seconds after which what is not done is refused, so that the refusals get out in time


def run_server(app: FastAPI, host: str, port: int, head_seconds: float, log_level: str = "info") -> None:
    """Serve until SIGTERM or Ctrl-C; what was taken on is then finished or refused within 5 s.

    Args:
        app: From :func:`create_app`.
        host: Address to listen on.
        port: Port to listen on.
        head_seconds: In which a connection has to bring a whole request's head.
        log_level: Of uvicorn.
    """
    _allow_many_connections()
    # What is there now stays: collections, as the gate wants after large bodies, need not look at it.
    gc.freeze()
    # Such pictures are refused with an answer of their own.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    _Server(configured(app, host, port, head_seconds, log_level)).run()


def configured(app: FastAPI, host: str, port: int, head_seconds: float, log_level: str) -> uvicorn.Config:
    """Return what :func:`run_server` runs with."""
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=type("Protocol", (_PromptProtocol,), {"head_seconds": head_seconds}),
        ws="none",
        log_level=log_level,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


class _Server(uvicorn.Server):
    """Tells the worker to stop as soon as the signal comes."""

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
