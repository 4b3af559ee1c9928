"""The application: endpoints, page, gate."""

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

    Its ``state`` has what the endpoints use, and ``replace``, a function of ``model``, ``directions``, ``training``
    and ``restorers`` that serves other models without losing a request.

    Args:
        model: To serve, on its device.
        limits: The defaults if omitted.
        keys: One of which requests below ``/v1/`` have to show; none for no key.
        hosts: Names by which clients may call the server, besides addresses and ``localhost``; ``*`` for any.
        directions: For edits, by name.
        training: Facts of its training, for ``/v1/info``.
        restorers: Models with a task, by name.
        batch_size: Images drawn at a time; that of ``glow sample`` gives its images to the last bit.
    Raises:
        ValueError: If no client could send a key, see :func:`~glow_app.server.limits.checked_key`; or if the reference
            among the facts is damaged.
    """
    limits = limits or Limits()
    metrics = Metrics(limits.queue)
    # FastAPI's own pages of documentation load from elsewhere; a redirect would go wherever the header Host says.
    app = FastAPI(title="Glow", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    state = app.state
    state.metrics, state.decoder = metrics, Decoder(limits, metrics.decode.observe)
    state.animations = FairTurns()  # one at a time: those of many clients would leave the model's thread no processor
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
    """Serve models in the place of those before, if any."""
    state, metrics = app.state, app.state.metrics
    worker = ModelWorker(model, batch_size, metrics.batches.observe, metrics.wait.observe)
    state.workers = [*(one for one in state.workers if one.is_alive), worker]
    try:
        service = Service(worker, state.decoder, limits, directions or {}, training or {}, restorers or {})
    except BaseException:
        worker.stop(threading.TIMEOUT_MAX)  # its thread, still running, would abort a process that ends for this error
        raise
    metrics.model.info({"sha256": service.info.model})
    before = getattr(state, "service", None)
    state.service, app.openapi_schema = service, None
    if before is not None:  # requests that have it keep it until they are answered
        timer = threading.Timer(limits.seconds + 5, before.worker.close)
        timer.daemon = True
        timer.start()


def _static(path: Path) -> Callable[[Request], Awaitable[Response]]:
    # A route a file, and not a folder of them, which would answer 404 for a known path with another method.
    async def give(_: Request) -> Response:
        return FileResponse(path, headers={"Cache-Control": "no-cache"})

    return give
