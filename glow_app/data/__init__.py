"""Image sources: embedded digits, torchvision sets and any folder, as uint8 images of one shape."""

from glow_app.data.base import ImageSet
from glow_app.data.loader import TrainLoader, train_loader
from glow_app.data.request import Resize, Split
from glow_app.data.sources import SOURCES, load_split

__all__ = ["SOURCES", "ImageSet", "Resize", "Split", "TrainLoader", "load_split", "train_loader"]
