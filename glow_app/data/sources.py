"""All image sources by name, and the function that loads from them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from glow_app.data.array_sets import load_digits_split, load_torchvision
from glow_app.data.attributes import Kind, table_of
from glow_app.data.faces.rendered import FACE_KINDS, load_faces
from glow_app.data.folder import load_folder, load_photos
from glow_app.data.huggingface import load_datasets, load_hub
from glow_app.data.image_set import ImageSet
from glow_app.data.splits import Split, SplitRequest
from glow_app.files import HUB
from glow_app.messages import closest

SOURCES: dict[str, Callable[[SplitRequest], ImageSet]] = {
    "digits": load_digits_split,
    "fashion_mnist": partial(load_torchvision, "FashionMNIST"),
    "mnist": partial(load_torchvision, "MNIST"),
    "cifar10": partial(load_torchvision, "CIFAR10"),
    "folder": load_folder,
    "photos": load_photos,
    "datasets": load_datasets,
    "faces": load_faces,
}
_PATHS = ("root", "cache_dir", "attributes")


def load_split(source: str, split: Split, image_shape: Sequence[int], **options: Any) -> ImageSet:
    """Load one split of an image source as uint8 images of one shape.

    An official test split is used unchanged, and validation is cut from the training images; a source without one is
    cut in three, by the seed and the names of files, or positions if there are none, see :meth:`SplitRequest.rows
    <glow_app.data.splits.SplitRequest.rows>`. Images that already have the shape are unchanged.

    Args:
        source: One of ``SOURCES``: "digits", "fashion_mnist", "mnist", "cifar10", "folder", "photos",
            "datasets", "faces"; or "hf://NAME[:CONFIGURATION][@REVISION]", a data set on the Hugging Face hub.
        split: "train", "validation" or "test".
        image_shape: (C, H, W) of the images; C is 1 (grey) or 3 (RGB).
        **options: Further arguments of :class:`~glow_app.data.splits.SplitRequest`, such as ``root`` or ``limit``.
    Raises:
        ValueError: If an argument is out of range, a file is damaged, or there are too few images for the split.
        FileNotFoundError: If the data does not exist.
    """
    if source not in SOURCES and not source.startswith(HUB):
        raise ValueError(
            f"unknown source {source!r}; known: {', '.join(SOURCES)} and hf://NAME{closest(source, SOURCES)}"
        )
    paths = {name: Path(options[name]).expanduser() for name in _PATHS if isinstance(options.get(name), str | Path)}
    channels, height, width = image_shape
    request = SplitRequest(split=split, image_shape=(channels, height, width), **options | paths)
    if request.count is not None and source != "faces":
        raise ValueError(f"count applies only to source 'faces', but the source is {source!r}; use limit")
    if request.attributes and source not in ("faces", "folder"):
        raise ValueError(f"attributes apply to sources 'folder' and 'faces', but the source is {source!r}")
    return load_hub(source, request) if source.startswith(HUB) else SOURCES[source](request)


def attribute_kinds(source: str, root: str | Path | None, attributes: str | bool) -> dict[str, Kind]:
    """Return the kinds of the attributes of images by their names.

    Args:
        source: "faces", which have attributes of their own, or "folder".
        root: The image folder.
        attributes: A table of the images in the folder, see :func:`~glow_app.data.attributes.read_attributes`; True for
            ``attributes.csv`` in it, or for those of faces.
    """
    return FACE_KINDS if source == "faces" else dict(table_of(Path(root or "."), attributes).kinds)
