"""Exact-likelihood image generation with Glow.

Importing this package is cheap; the names below are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.flows import Glow
    from glow_app.models.generation_settings import GenerationSettings
    from glow_app.models.image_model import ImageModel
    from glow_app.pictures.image_batch import Images
    from glow_app.spec import register
    from glow_app.storage.pretrained import push_to_hub, save_pretrained
    from glow_app.storage.stored_model import from_pretrained, load_model

    __version__: str

_HOMES = {
    "GenerationSettings": "glow_app.models.generation_settings",
    "Glow": "glow_app.flows",
    "ImageModel": "glow_app.models.image_model",
    "Images": "glow_app.pictures.image_batch",
    "from_pretrained": "glow_app.storage.stored_model",
    "load_model": "glow_app.storage.stored_model",
    "push_to_hub": "glow_app.storage.pretrained",
    "register": "glow_app.spec",
    "save_pretrained": "glow_app.storage.pretrained",
    "train": "glow_app.commands.fit",  # only by name: this package is below its commands, and runs without Lightning
}
__all__ = [*_HOMES, "__version__"]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("glow-app")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
