"""The FastAPI application: endpoints, page and gate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from glow_app import __version__
from glow_app.models.image_model import ImageModel
from glow_app.pipeline import Direction
from glow_app.server.answers import answer_error
from glow_app.server.gate import Gate
from glow_app.server.limits import Limits, checked_key
from glow_app.server.restorer import Restorer
from glow_app.server.routes import API, HEALTH
from glow_app.server.service import Service

PAGE = Path(__file__).parent / "page"
SWAGGER = Path(fastapi_offline.__file__).parent / "static"


def create_app(
    model: ImageModel,
    limits: Limits | None = None,
    *,
    name: str = "Glow",
    keys: Sequence[str] = (),
    hosts: Sequence[str] = (),
    directions: Mapping[str, Direction] | None = None,
    training: Mapping[str, Any] | None = None,
    restorers: Sequence[Restorer] = (),
) -> FastAPI:
    """Return the application that serves a model.

    Args:
        model: The model to serve, on its device.
        limits: Limits of requests; the defaults if omitted.
        name: The model's name, for ``/v1/info``.
        keys: Accepted API keys for requests below ``/v1/``; if empty, no key is needed.
        hosts: Accepted host names, besides IP addresses and ``localhost``; ``*`` for any.
        directions: Edit directions by name.
        training: Facts of the model's training, for ``/v1/info``.
        restorers: Models with a task.
    Raises:
        ValueError: If a key is invalid, see :func:`~glow_app.server.limits.checked_key`, or the statistics of ordinary
            images in ``training`` are damaged.
    """
    limits = limits or Limits()
    # FastAPI's own documentation pages load scripts from a CDN; a redirect would follow the client's Host header.
    app = FastAPI(
        title="Glow",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # names of functions in generated clients
    )
    service = Service(model, limits, directions or {}, training or {}, restorers, name)
    for kind in (RequestValidationError, HTTPException):  # all others reach the gate
        app.add_exception_handler(kind, answer_error)
    app.include_router(API, dependencies=[Security(HTTPBearer(auto_error=False))] if keys else [])
    app.include_router(HEALTH)
    app.add_route("/docs", lambda _: FileResponse(PAGE / "docs.html"), include_in_schema=False)
    app.mount("/swagger", StaticFiles(directory=SWAGGER))
    app.frontend("/", directory=PAGE, fallback=None)
    gate = Gate(limits, [checked_key(key) for key in keys], hosts, app.openapi()["paths"], service.thread)
    app.state.service, app.state.gate = service, gate
    app.add_middleware(gate.wrap)
    return app
