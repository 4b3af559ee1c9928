"""The endpoints of those who run a server: whether it is alive, whether it is ready, and its metrics."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from glow_app.server.current import Current
from glow_app.server.errors import model_ended, stopping
from glow_app.server.metrics import Metrics
from glow_app.server.routes import ERRORS

__all__ = ["health_routes"]


def health_routes(current: Current, metrics: Metrics, is_stopping: Callable[[], bool]) -> APIRouter:
    """Return what those who run a server ask for.

    Args:
        current: Whose worker has to be alive.
        metrics: To be given.
        is_stopping: Whether requests are refused.
    """
    router = APIRouter()
    answers: dict[int | str, dict[str, Any]] = {status: ERRORS[status] for status in (421, 500, 503)}

    def check() -> None:
        if not current.service.worker.is_alive:
            raise model_ended()

    # Many a monitor asks by HEAD.
    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz", responses=answers)
    async def healthz() -> dict[str, str]:
        """Return whether server and model are alive; 503 if only a restart helps."""
        check()
        return {"status": "ok"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz", responses=answers)
    async def readyz() -> dict[str, str]:
        """Return whether requests are accepted; 503 while the server stops."""
        check()
        if is_stopping():
            raise stopping()
        return {"status": "ready"}

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}, 421: ERRORS[421]}, response_class=Response)
    async def metrics_text() -> Response:
        """Return metrics for Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
