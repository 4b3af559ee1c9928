"""Image sources, as uint8 images of one shape, and sources of vectors: toy densities and tables.

The names below are imported on first use, so that a process that only decodes images does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.data.base import ImageSet
    from glow_app.data.loader import TrainLoader, first_examples, train_loader
    from glow_app.data.request import Resize, Split
    from glow_app.data.sources import SOURCES, is_prepared, load_split
    from glow_app.data.toys import TOYS, Toy
    from glow_app.data.vectors import VectorSet, load_vectors

__all__ = [
    "SOURCES",
    "TOYS",
    "ImageSet",
    "Resize",
    "Split",
    "Toy",
    "TrainLoader",
    "VectorSet",
    "first_examples",
    "is_prepared",
    "load_split",
    "load_vectors",
    "train_loader",
]

_HOMES = {
    "SOURCES": "sources",
    "TOYS": "toys",
    "ImageSet": "base",
    "Resize": "request",
    "Split": "request",
    "Toy": "toys",
    "TrainLoader": "loader",
    "VectorSet": "vectors",
    "first_examples": "loader",
    "is_prepared": "sources",
    "load_split": "sources",
    "load_vectors": "vectors",
    "train_loader": "loader",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
