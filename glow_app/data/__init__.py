"""Image sources, as uint8 images of one shape, and toy densities in the plane.

The names below are imported on first use, so that a process that only decodes images does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glow_app.data.base import ImageSet as ImageSet
    from glow_app.data.loader import TrainLoader as TrainLoader
    from glow_app.data.loader import first_examples as first_examples
    from glow_app.data.loader import train_loader as train_loader
    from glow_app.data.request import Resize as Resize
    from glow_app.data.request import Split as Split
    from glow_app.data.sources import SOURCES as SOURCES
    from glow_app.data.sources import load_split as load_split
    from glow_app.data.toys import TOYS as TOYS
    from glow_app.data.toys import PointSet as PointSet
    from glow_app.data.toys import Toy as Toy
    from glow_app.data.toys import load_points as load_points

_NAMES = {
    "base": ("ImageSet",),
    "loader": ("TrainLoader", "first_examples", "train_loader"),
    "request": ("Resize", "Split"),
    "sources": ("SOURCES", "load_split"),
    "toys": ("TOYS", "PointSet", "Toy", "load_points"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
