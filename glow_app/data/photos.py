"""A folder of photographs as a source of many crops each."""

import hashlib
import json
import warnings
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glow_app.data.base import ImageSet
from glow_app.data.bulk import Chunk, read_listing
from glow_app.data.cache import cache_folder, cache_key, kept_images, skipped_message
from glow_app.data.decoding import decode_photo
from glow_app.data.listing import FolderListing, list_images
from glow_app.data.request import SplitRequest

# Photographs are reduced to this short side, or four crops if that is more: pixels of a camera are soft and noisy.
_SHORT_SIDE = 512
# Crops of all photographs together, if 256 of each are fewer: few photographs must give all they have.
_MANY_CROPS = 65_536


def load_photos(request: SplitRequest) -> ImageSet:
    """Load one split of the crops of a folder of photographs.

    From each photograph, reduced to a short side of 512 pixels, crops of the image shape are cut at random places,
    twice as many as fit side by side, but at most 256 of a photograph, or 65,536 together if that is more. Splits are
    made of whole photographs, so that no part of a photograph for validation or for the test is trained on.
    Subfolders are no classes.

    Args:
        request: What to load; ``root`` is the folder.
    Raises:
        ValueError: If no root is given, it is no folder, or has too few photographs, or none as large as a crop.
        FileNotFoundError: If the folder does not exist.
    """
    if request.root is None:
        raise ValueError("source 'photos' needs the folder's path; pass --data.root DIR")
    listing = list_images(request.root)
    chosen = {listing.files[row].name for row in request.rows(len(listing.files), request.split)}
    key = hashlib.sha256(json.dumps(["photos", cache_key(listing, request.image_shape, "crop")]).encode()).hexdigest()
    facts = {"root": str(listing.root.resolve())}
    entry = cache_folder(request.cache_dir) / key
    crops = kept_images(entry, request.image_shape, facts, _read, listing, request.image_shape)
    if crops.skipped:
        warnings.warn(skipped_message(listing, crops.skipped), stacklevel=2)
    rows = np.flatnonzero([name in chosen for name in crops.names])
    if not len(rows):
        height, width = request.image_shape[1:]
        raise ValueError(f"no photograph of the {request.split} split in {listing.root} is at least {width}x{height}")
    order = np.random.default_rng(request.seed).permutation(rows)[: request.limit]
    return ImageSet(crops.images, torch.zeros(len(crops.images), dtype=torch.int64), (), order, listing.hash_of_names)


def _read(listing: FolderListing, image_shape: tuple[int, int, int]) -> Iterator[Chunk[np.ndarray]]:
    """Yield the crops of all photographs, each with the name of its file."""
    skipped: list[tuple[str, str]] = []
    most = max(256, _MANY_CROPS // len(listing.files))
    crops_of = partial(_crops, image_shape=image_shape, most=most)
    for chunk in read_listing(listing, crops_of, 4, "cutting crops from"):
        skipped += chunk.skipped
        names = [name for name, crops in zip(chunk.names, chunk.values, strict=True) for _ in crops]
        yield Chunk([crop for crops in chunk.values for crop in crops], names, chunk.skipped, chunk.unread)
    if len(skipped) == len(listing.files):
        raise ValueError(f"no usable photograph: {skipped_message(listing, skipped)}")


def _crops(path: Path, image_shape: tuple[int, int, int], most: int) -> np.ndarray:
    """Return at most ``most`` crops of a photograph, (N, C, H, W), at places that depend on the file's name."""
    channels, height, width = image_shape
    photo = decode_photo(path, channels, max(_SHORT_SIDE, 4 * max(height, width)))
    rows, columns = photo.shape[1] - height, photo.shape[2] - width
    if min(rows, columns) < 0:
        raise ValueError(f"it is {photo.shape[2]}x{photo.shape[1]}; expected at least {width}x{height}")
    number = min(most, max(1, 2 * photo.shape[1] * photo.shape[2] // (height * width)))
    places = np.random.default_rng(zlib.crc32(path.name.encode())).integers((rows + 1, columns + 1), size=(number, 2))
    return np.stack([photo[:, top : top + height, left : left + width] for top, left in places])
