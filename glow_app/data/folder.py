"""Folders of images as a source."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from glow_app.data.base import ImageSet, choose
from glow_app.data.cache import folder_images
from glow_app.data.decoding import decode_image
from glow_app.data.listing import all_class_names, list_images, split_layout
from glow_app.data.request import Split, SplitRequest


def load_folder(request: SplitRequest) -> ImageSet:
    """Load one split of an image folder.

    If all images are in first-level directories, these are the classes; otherwise the images are unlabelled.
    First-level directories named ``train`` (or ``training``) and ``val``, ``valid``, ``validation``, ``dev``, ``test``,
    ``testing`` or ``eval``, in any case, are the splits, each with or without directories of classes; everything beside
    them is ignored. A split without a directory is cut from ``train``.

    Args:
        request: What to load; ``root`` is the folder.
    Raises:
        ValueError: If ``root`` is None, not a folder, has no readable image, or too few for the split.
        FileNotFoundError: If the folder does not exist.
    """
    parts = split_layout(list_images(request.folder("folder")))
    part = parts.get(request.split, parts["train"])
    class_names = all_class_names(parts)
    shape, resize = request.image_shape, request.resize

    def read(path: Path) -> np.ndarray:
        return decode_image(path, shape, resize)[None]

    decoded = folder_images(part, shape, request.cache_dir, read, f"decoding images, {resize}", chunk_size=64)
    labels = torch.tensor(part.labels(decoded.names, class_names), dtype=torch.int64)
    pool = ImageSet(
        decoded.images, labels, class_names if part.class_names else (), contents=parts["train"].hash_of_names
    )
    return choose(pool, request, parts)


def is_other_folder(source: str, root: str | None, trained_on: str | None) -> bool:
    """Return whether ``root`` is a folder of images other than the training folder ``trained_on``."""
    if source not in ("folder", "photos") or root is None:
        return False
    return trained_on is None or Path(root).expanduser().resolve() != Path(trained_on).expanduser().resolve()


def whole_folder(source: str, root: str, split: Split) -> dict[str, Any]:
    """Return arguments of ``load_split`` for all images of a folder, or for ``split`` if the folder has splits."""
    if source == "folder" and [*split_layout(list_images(Path(root).expanduser()))] != ["train"]:
        return {"root": root, "split": split}
    return {"root": root, "split": "train", "validation_fraction": 0.0, "test_fraction": 0.0}
