"""HTTP: an API, one model worker with a bounded queue, limits, and a static page.

Public names are imported on first use, so that ``limits`` is importable without the packages of the server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.server.app import create_app
    from glow_app.server.limits import Limits
    from glow_app.server.run import bind, run_server

__all__ = ["Limits", "bind", "create_app", "run_server"]

_MODULES = {"Limits": "limits", "bind": "run", "create_app": "app", "run_server": "run"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
