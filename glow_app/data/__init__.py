"""Image sources, as uint8 images of one shape, and sources of vectors: toy densities and tables."""

from glow_app.data.base import ImageSet
from glow_app.data.loader import TrainLoader, train_loader
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
    "is_prepared",
    "load_split",
    "load_vectors",
    "train_loader",
]
