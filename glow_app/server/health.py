"""The endpoints for operators: liveness, readiness and metrics."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from glow_app.server.errors import ERRORS, model_ended, stopping
from glow_app.server.routes import Served

HEALTH = APIRouter()

_ANSWERS: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (421, 500, 503)}


# Many monitors use HEAD.
@HEALTH.head("/healthz", include_in_schema=False)
@HEALTH.get("/healthz", responses=_ANSWERS)
async def healthz(service: Served) -> dict[str, str]:
    """Return whether server and model are alive; 503 if only a restart helps."""
    if not service.worker.is_alive:
        raise model_ended()
    return {"status": "ok"}


@HEALTH.head("/readyz", include_in_schema=False)
@HEALTH.get("/readyz", responses=_ANSWERS)
async def readyz(service: Served, request: Request) -> dict[str, str]:
    """Return whether requests are accepted; 503 while the server stops."""
    await healthz(service)
    if request.app.state.gate.is_stopping:
        raise stopping()
    return {"status": "ready"}


@HEALTH.get("/metrics", responses={200: {"content": {"text/plain": {}}}, 421: ERRORS[421]}, response_class=Response)
async def metrics_text(request: Request) -> Response:
    """Return metrics for Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
