"""HTTP: an API, one model worker with a bounded queue, limits, and a static page."""

from glow_app.server.app import create_app
from glow_app.server.limits import Limits
from glow_app.server.run import run_server

__all__ = ["Limits", "create_app", "run_server"]
