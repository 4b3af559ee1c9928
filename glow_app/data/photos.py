"""Random crops of the photographs in a folder as a source."""

import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glow_app.data.base import ImageSet
from glow_app.data.cache import folder_images
from glow_app.data.decoding import decode_photo
from glow_app.data.listing import list_images
from glow_app.data.request import SplitRequest

# Photographs are reduced to this short side, or to four crops if that is more: camera pixels are soft and noisy.
_SHORT_SIDE = 512
# Maximum number of crops in total, if 256 per photograph would be fewer; few photographs then give more crops each.
_MANY_CROPS = 65_536


def load_photos(request: SplitRequest) -> ImageSet:
    """Load one split of the crops of a folder of photographs.

    Each photograph is reduced to a short side of 512 pixels, or four times the longer side of a crop if that is more.
    Crops are cut at random positions: twice as many as fit side by side, but at most 256 per photograph, or 65,536 in
    total if that is more. Splits consist of whole photographs, so that training sees no part of a photograph for
    validation or test. Subfolders are not classes.

    Args:
        request: What to load; ``root`` is the folder.
    Raises:
        ValueError: If ``root`` is None or not a folder, or has too few photographs, or none as large as a crop.
        FileNotFoundError: If the folder does not exist.
    """
    listing = list_images(request.folder("photos"))
    photos_of_split = {listing.files[row].name for row in request.rows(len(listing.files), request.split)}
    shape = request.image_shape
    read = partial(_crops, image_shape=shape, max_crops=max(256, _MANY_CROPS // len(listing.files)))
    crops = folder_images(listing, shape, request.cache_dir, read, "cutting crops from photographs", chunk_size=4)
    rows = np.flatnonzero([name in photos_of_split for name in crops.names])
    if not len(rows):
        size = f"{shape[2]}x{shape[1]}"
        raise ValueError(f"no photograph of the {request.split} split in {listing.root} is at least {size}")
    order = np.random.default_rng(request.seed).permutation(rows)[: request.limit]
    return ImageSet(crops.images, torch.zeros(len(crops.images), dtype=torch.int64), (), order, listing.hash_of_names)


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
