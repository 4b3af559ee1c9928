"""The FastAPI application: endpoints, page and gate."""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response

from glow_app import __version__
from glow_app.generation import Direction
from glow_app.models.image_model import ImageModel
from glow_app.server.decoder import Decoder
from glow_app.server.errors import handle_errors
from glow_app.server.gate import Gate
from glow_app.server.limits import Limits, checked_key
from glow_app.server.metrics import Metrics
from glow_app.server.openapi import described
from glow_app.server.routes import API, HEALTH
from glow_app.server.service import Service
from glow_app.server.use import FairTurns
from glow_app.server.worker import ModelWorker

PAGE = Path(__file__).parent / "page"
ADDRESSES = {"index.html": "/", "docs.html": "/docs"}


def create_app(
    model: ImageModel,
    limits: Limits | None = None,
    *,
    keys: Sequence[str] = (),
    hosts: Sequence[str] = (),
    directions: Mapping[str, Direction] | None = None,
    training: Mapping[str, Any] | None = None,
    restorers: Mapping[str, ImageModel] | None = None,
    batch_size: int = 16,
) -> FastAPI:
    """Return the application that serves a model.

    Its ``state.replace(model, directions, training, restorers)`` switches to other models without losing a request.

    Args:
        model: The model to serve, on its device.
        limits: Limits of requests; the defaults if omitted.
        keys: Accepted API keys for requests below ``/v1/``; if empty, no key is needed.
        hosts: Accepted host names of the server, besides addresses and ``localhost``; ``*`` for any.
        directions: Edit directions by name.
        training: Facts of the model's training, for ``/v1/info``.
        restorers: Models with a task, by name.
        batch_size: Images drawn per batch; with that of ``glow sample``, images equal its own to the last bit.
    Raises:
        ValueError: If a key is invalid, see :func:`~glow_app.server.limits.checked_key`, or the reference among the
            facts is damaged.
    """
    limits = limits or Limits()
    metrics = Metrics(limits.queue)
    # FastAPI's documentation pages load scripts from a CDN; a redirect would follow the client's Host header.
    app = FastAPI(title="Glow", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    state = app.state
    state.metrics, state.decoder = metrics, Decoder(limits, metrics.decode.observe)
    state.animations = FairTurns()  # encoded one at a time, to leave processors to the model's thread
    state.workers = []
    state.replace = partial(_serve, app, limits, batch_size)
    state.replace(model, directions, training, restorers)
    handle_errors(app)
    app.include_router(API)
    app.include_router(HEALTH)
    app.openapi = lambda: described(app, bool(keys))  # type: ignore[method-assign]
    for file in PAGE.iterdir():
        app.add_route(ADDRESSES.get(file.name, f"/{file.name}"), _static(file), include_in_schema=False)
    gate = state.gate = Gate(
        limits,
        [checked_key(key) for key in keys],
        hosts,
        app.openapi()["paths"],
        metrics.answered,
        lambda: state.service.worker.backlog,
    )
    app.add_middleware(gate.around)
    metrics.watch(lambda: gate.depth, lambda: gate.held)
    return app


def _serve(
    app: FastAPI,
    limits: Limits,
    batch_size: int,
    model: ImageModel,
    directions: Mapping[str, Direction] | None,
    training: Mapping[str, Any] | None,
    restorers: Mapping[str, ImageModel] | None = None,
) -> None:
    """Serve models, replacing the previous ones, if any."""
    state, metrics = app.state, app.state.metrics
    worker = ModelWorker(model, batch_size, metrics.batches.observe, metrics.wait.observe)
    state.workers = [*(previous for previous in state.workers if previous.is_alive), worker]
    try:
        service = Service(worker, state.decoder, limits, directions or {}, training or {}, restorers or {})
    except BaseException:
        worker.stop(threading.TIMEOUT_MAX)  # a running thread would abort the process if this error ends it
        raise
    metrics.model.info({"sha256": service.info.model})
    previous_service = getattr(state, "service", None)
    state.service, app.openapi_schema = service, None
    if previous_service is not None:  # requests in progress keep it until they are answered
        timer = threading.Timer(limits.seconds + 5, previous_service.worker.close)
        timer.daemon = True
        timer.start()


def _static(path: Path) -> Callable[[Request], Awaitable[Response]]:
    # A route per file: a mounted folder would answer 404 instead of 405 for an API path with another method.
    async def send_file(_: Request) -> Response:
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    return send_file
