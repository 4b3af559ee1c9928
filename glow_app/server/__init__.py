"""HTTP: an API, one model worker with a bounded queue, limits, and a static page.

The names below load on first use, so that the bounds can be read where the packages of a server are not installed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.server.app import create_app
    from glow_app.server.limits import Limits
    from glow_app.server.run import bind, run_server

__all__ = ["Limits", "bind", "create_app", "run_server"]

_HOMES = {"Limits": "limits", "bind": "run", "create_app": "app", "run_server": "run"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
