"""Any folder of images as a source."""

import torch

from glow_app.data.base import ImageSet
from glow_app.data.cache import decoded_folder
from glow_app.data.listing import FolderListing, list_images
from glow_app.data.request import SPLIT_NAMES, Split, SplitRequest
from glow_app.data.splits import choose, shuffled


def load_folder(request: SplitRequest) -> ImageSet:
    """Load one split of an image folder.

    A tree whose images all lie in first-level directories is labelled by them; any other is unlabelled. Where
    directories named ``train`` and ``test`` (and ``val``, ``valid`` or ``validation``) stand at the top, or nothing
    beside such directories, they are the splits, each flat or by class; a split without one is cut from ``train``.

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
    listing = list_images(request.root)
    parts = split_layout(listing)
    if not parts:
        return choose(_load(listing, listing.class_names, request), request)
    names = {name for part in parts.values() for name in part.class_names}
    class_names = tuple(sorted(names))
    if request.split in parts and request.split != "train":
        return shuffled(_load(parts[request.split], class_names, request), request)
    pool = _load(parts["train"], class_names, request)
    return choose(pool, request, parts)


def split_layout(listing: FolderListing) -> dict[Split, FolderListing]:
    """Return the listing of every split that has a directory of its own; empty when the folder is one pool."""
    top = {file.class_name for file in listing.files}
    known = {name for names in SPLIT_NAMES.values() for name in names}
    if "train" not in top or not ("test" in top or top <= known):
        return {}
    found = {split: next((name for name in names if name in top), None) for split, names in SPLIT_NAMES.items()}
    return {split: listing.below(name) for split, name in found.items() if name is not None}


def _load(listing: FolderListing, class_names: tuple[str, ...], request: SplitRequest) -> ImageSet:
    decoded = decoded_folder(listing, request.image_shape, request.resize, request.cache_dir)
    labels = torch.tensor(listing.labels(decoded.names, class_names), dtype=torch.int64)
    return ImageSet(decoded.images, labels, class_names if listing.class_names else ())
