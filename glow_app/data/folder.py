"""Folders of images, and the crops of a folder of photographs, as sources."""

import zlib
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glow_app.data.attributes import table_of
from glow_app.data.decoding import decode_image, decode_photo
from glow_app.data.image_cache import folder_images
from glow_app.data.image_set import ImageSet
from glow_app.data.listing import FolderListing, all_class_names, list_images, split_layout
from glow_app.data.splits import SplitRequest

# Photographs are reduced to this short side, or to four crops if that is more: camera pixels are soft and noisy.
_SHORT_SIDE = 512
# Maximum number of crops in total, if 256 per photograph would be fewer; few photographs then give more crops each.
_MIN_TOTAL_CROPS = 65_536


def load_folder(request: SplitRequest) -> ImageSet:
    """Load one split of an image folder.

    If all images are in first-level directories, these are the classes; otherwise the images are unlabelled.
    First-level directories named ``train`` (or ``training``) and ``val``, ``valid``, ``validation``, ``dev``, ``test``,
    ``testing`` or ``eval``, in any case, are the splits, each with or without directories of classes; everything beside
    them is ignored. A split without a directory is cut from ``train``. With a table of attributes, these are the labels
    instead of classes.

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
    rows = _rows(part, decoded.names, request, parts)[: request.limit]
    if request.attributes:
        table = table_of(request.folder("folder"), request.attributes)
        return ImageSet(decoded.images, table.of(decoded.names), (), rows, table.kinds)
    label_of = {name: label for label, name in enumerate(class_names if part.class_names else ())}
    labels = torch.tensor([label_of.get(name.partition("/")[0], 0) for name in decoded.names], dtype=torch.int64)
    return ImageSet(decoded.images, labels, tuple(label_of), rows)


def load_photos(request: SplitRequest) -> ImageSet:
    """Load one split of the crops of a folder of photographs.

    Each photograph is reduced to a short side of 512 pixels, or four times the longer side of a crop if that is more.
    Crops are cut at random positions: twice as many as fit side by side, but at most 256 per photograph, or 65,536 in
    total if that is more. Splits consist of whole photographs, so that training sees no part of a photograph for
    validation or test. Subfolders are not classes.

    Raises:
        ValueError: If ``root`` is None or not a folder, or has too few photographs, or none as large as a crop.
        FileNotFoundError: If the folder does not exist.
    """
    listing = list_images(request.folder("photos"))
    shape = request.image_shape
    read = partial(_crops, image_shape=shape, max_crops=max(256, _MIN_TOTAL_CROPS // len(listing.files)))
    crops = folder_images(listing, shape, request.cache_dir, read, "cutting crops from photographs", chunk_size=4)
    rows = np.sort(_rows(listing, crops.names, request))
    order = np.random.default_rng(request.seed).permutation(rows)[: request.limit]
    return ImageSet(crops.images, torch.zeros(len(crops.images), dtype=torch.int64), (), order)


def _rows(
    listing: FolderListing, names: Sequence[str], request: SplitRequest, official: Container[str] = ()
) -> np.ndarray:
    """Return the rows of a split, where ``names`` are the files that could be read, and of each row."""
    listed = listing.names
    place = {listed[row]: place for place, row in enumerate(request.rows(listed, official))}
    rows = sorted((row for row, name in enumerate(names) if name in place), key=lambda row: place[names[row]])
    if not rows:
        raise ValueError(
            f"no file of the {request.split} split in {listing.root} can be used; add images or change the fractions"
        )
    return np.array(rows)


def _crops(path: Path, image_shape: tuple[int, int, int], max_crops: int) -> np.ndarray:
    """Return at most ``max_crops`` crops of a photograph, (N, C, H, W), at positions seeded by the file name."""
    channels, height, width = image_shape
    photo = decode_photo(path, channels, max(_SHORT_SIDE, 4 * max(height, width)))
    rows, columns = photo.shape[1] - height, photo.shape[2] - width
    if min(rows, columns) < 0:
        raise ValueError(f"it is {photo.shape[2]}x{photo.shape[1]}; expected at least {width}x{height}")
    count = min(max_crops, max(1, 2 * photo.shape[1] * photo.shape[2] // (height * width)))
    corners = np.random.default_rng(zlib.crc32(path.name.encode())).integers((rows + 1, columns + 1), size=(count, 2))
    return np.stack([photo[:, top : top + height, left : left + width] for top, left in corners])
