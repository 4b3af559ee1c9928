"""Image sources, as uint8 images of one shape, and toy densities in the plane.

The names below are imported on first use, so that a process that only decodes images does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.data.base import ImageSet
    from glow_app.data.loader import TrainLoader, first_examples, train_loader
    from glow_app.data.request import Resize, Split
    from glow_app.data.sources import SOURCES, load_split
    from glow_app.data.toys import TOYS, PointSet, Toy, load_points

__all__ = [
    "SOURCES",
    "TOYS",
    "ImageSet",
    "PointSet",
    "Resize",
    "Split",
    "Toy",
    "TrainLoader",
    "first_examples",
    "load_points",
    "load_split",
    "train_loader",
]

_HOMES = {
    "SOURCES": "sources",
    "TOYS": "toys",
    "ImageSet": "base",
    "PointSet": "toys",
    "Resize": "request",
    "Split": "request",
    "Toy": "toys",
    "TrainLoader": "loader",
    "first_examples": "loader",
    "load_points": "toys",
    "load_split": "sources",
    "train_loader": "loader",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
