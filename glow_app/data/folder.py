"""Any folder of images as a source."""

from pathlib import Path
from typing import Any

import torch

from glow_app.data.base import ImageSet
from glow_app.data.cache import decoded_folder
from glow_app.data.listing import all_class_names, list_images, split_layout
from glow_app.data.request import Split, SplitRequest
from glow_app.data.splits import choose


def load_folder(request: SplitRequest) -> ImageSet:
    """Load one split of an image folder.

    A tree whose images all lie in first-level directories is labelled by them; any other is unlabelled. Where
    directories named ``train`` (or ``training``) and ``val``, ``valid``, ``validation``, ``dev``, ``test``, ``testing``
    or ``eval`` stand at the top, in any case, they are the splits, each flat or by class, and what lies beside them is
    left out; a split without one is cut from ``train``.

    Args:
        request: What to load; ``root`` is the folder.
    Raises:
        ValueError: If no root is given, it is no folder, holds no readable image, or too few for the split.
        FileNotFoundError: If the folder does not exist.
    """
    if request.root is None:
        raise ValueError(
            "source 'folder' needs the folder's path; pass --data.root DIR (--root, where a command has it)"
        )
    parts = split_layout(list_images(request.root))
    part = parts.get(request.split, parts["train"])
    class_names = all_class_names(parts)
    decoded = decoded_folder(part, request.image_shape, request.resize, request.cache_dir)
    labels = torch.tensor(part.labels(decoded.names, class_names), dtype=torch.int64)
    pool = ImageSet(
        decoded.images, labels, class_names if part.class_names else (), contents=parts["train"].hash_of_names
    )
    return choose(pool, request, parts)


def is_other_folder(source: str, root: str | None, trained_on: str | None) -> bool:
    """Return whether ``root`` is a folder of pictures other than that of the training."""
    if source not in ("folder", "photos") or root is None:
        return False
    return trained_on is None or Path(root).expanduser().resolve() != Path(trained_on).expanduser().resolve()


def whole_folder(source: str, root: str, split: Split) -> dict[str, Any]:
    """Return arguments of ``load_split`` for all images of a folder, or for its split where it has directories."""
    if source == "folder" and [*split_layout(list_images(Path(root).expanduser()))] != ["train"]:
        return {"root": root, "split": split}
    return {"root": root, "split": "train", "validation_fraction": 0.0, "test_fraction": 0.0}
