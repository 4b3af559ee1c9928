"""Logs and Prometheus metrics of a server."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector
from starlette.types import Scope

from glow_app.server.limits import LogFormat

_LOG = logging.getLogger("glow_app.access")
_PROBES = ("/healthz", "/readyz", "/metrics", "/v1/progress")
_CLIENT_LEFT = 499  # status in logs only: the client left before the answer
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def queue_metrics(slots: int, depth: Callable[[], float]) -> tuple[CollectorRegistry, Histogram]:
    """Return the metrics of a server with ``slots`` for requests, and among them the seconds of requests."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Gauge("glow_queue_depth", "Requests waiting, being computed or answered.", registry=registry).set_function(depth)
    Gauge("glow_queue_slots", "Maximum of glow_queue_depth.", registry=registry).set(slots)
    text, labels = "Time from request to answer.", ["endpoint", "status"]
    return registry, Histogram("glow_request_seconds", text, labels, buckets=_SECONDS, registry=registry)


def log_request(scope: Scope, status: int, seconds: float) -> None:
    """Log a finished request, without query and body; a status of 0 means that the client left before the answer.

    Probes are logged at the debug level.
    """
    fields = {
        "client": quote(scope["client"][0], ":")[:40] if scope.get("client") else "",  # a proxy may forward any text
        "method": scope["method"],
        "path": quote(scope["path"])[:200],
        "status": status or _CLIENT_LEFT,
        "duration_ms": round(1000 * seconds, 1),
        "request_id": scope["glow.request_id"],
    }
    level = logging.DEBUG if scope["path"] in _PROBES else logging.INFO
    _LOG.log(level, "%s", " ".join(map(str, fields.values())), extra={"fields": fields})


def log_config(form: LogFormat, level: str) -> dict[str, Any]:
    """Return the configuration of :mod:`logging` for a format and a minimum level."""
    names = ("uvicorn", "glow_app.server", "glow_app.access")
    loggers: dict[str, Any] = {name: {"handlers": ["default"], "level": level, "propagate": False} for name in names}
    loggers["python_multipart"] = {"level": "CRITICAL"}  # it warns of invalid forms, which are answered
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"format": "%(levelname)s: %(message)s"}, "json": {"()": _JsonFormatter}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": form, "stream": "ext://sys.stderr"}},
        "loggers": loggers,
    }


class _JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: UTC time, level, logger, and the fields of a request or a message."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **getattr(record, "fields", {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
