"""Logs of the server: a line per request, as text or JSON."""

import json
import logging
import time
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from glow_app.server.limits import LogFormat

_LOG = logging.getLogger("glow_app.access")
_PROBES = ("/healthz", "/readyz", "/metrics")
_CLIENT_LEFT = 499  # status in logs only: the client left before the answer


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
    text = {"()": "uvicorn.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s", "use_colors": None}
    loggers = ("uvicorn", "glow_app.server", "glow_app.access")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": text, "json": {"()": _JsonFormatter}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": form, "stream": "ext://sys.stderr"}},
        "loggers": {name: {"handlers": ["default"], "level": level, "propagate": False} for name in loggers},
    }


class _JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: UTC time, level, logger, and the fields of a request or a message."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **getattr(record, "fields", {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
