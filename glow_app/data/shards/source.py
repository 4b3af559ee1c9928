"""Shards as a source, on the local disk or at an address."""

import sys
import warnings
from collections.abc import Container, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glow_app.data.base import ImageSet
from glow_app.data.cache import cache_folder
from glow_app.data.request import SplitRequest
from glow_app.data.sharded_images import OPEN_SHARDS, Shard, ShardedImages, ShardError
from glow_app.data.shards.addresses import fault_of, fetch_verified, is_address, join, read_text
from glow_app.data.shards.manifest import INDEX, MANIFEST, Manifest, SplitEntry
from glow_app.data.shards.shard_cache import ShardCache
from glow_app.data.shards.tar import check_places, tar_shard

# A limited split is drawn from shards that contain this many times as many images.
_POOL_RATIO = 10


def load_shards(request: SplitRequest) -> ImageSet:
    """Load one split of a folder of shards with a manifest of ``glow data pack`` or ``glow data index``.

    A split without its own shards is cut from the training shards, image by image as from a folder.

    Args:
        request: What to load; ``root`` or ``address`` is the folder.
    Raises:
        ShardError: If there is no manifest, or a shard or the index differs from it.
    """
    root = request.address or request.root
    if root is None:
        raise ValueError(
            "source 'shards' needs their folder or address; pass --data.root PLACE (--root, where a command has it)"
        )
    cache = shard_cache(request)
    manifest = read_manifest(str(root))
    split = request.split if request.split in manifest.splits else "train"
    if split not in manifest.splits:
        raise ShardError(f"{join(str(root), MANIFEST)} has no shards to train on, only {', '.join(manifest.splits)}")
    entry = manifest.splits[split]
    index_path = _index_path(str(root), entry, cache)
    index = _read_index(index_path, entry.count)
    labels = torch.from_numpy(index["label"].astype(np.int64))
    names = manifest.class_names
    if len(labels) and names and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
        raise ShardError(f"index {index_path} has labels of classes that {join(str(root), MANIFEST)} does not name")
    shards: list[Shard] = []
    start = 0
    for shard in entry.shards:
        shards.append(tar_shard(join(str(root), shard.file), shard, index_path, start, cache))
        check_places(index[start : start + shard.count], shard.bytes, shards[-1].name)
        start += shard.count
    _warn_of_sizes(manifest, request, max(shard.bytes for shard in entry.shards), is_address(str(root)))
    return sharded_split(shards, labels, names, request, manifest.splits)


def read_manifest(root: str) -> Manifest:
    """Return the manifest of a folder or address of shards.

    Raises:
        ShardError: If there is no manifest, or it cannot be read.
    """
    place = join(root, MANIFEST)
    try:
        return Manifest.parse(read_text(place), place)
    except FileNotFoundError as error:
        raise ShardError(
            f"there is no {place}; glow data pack writes shards from a folder of images, glow data index a manifest "
            "for existing tar files"
        ) from error
    except ShardError:
        raise
    except ImportError as error:  # fsspec's "Install PACKAGE to access SYSTEM"
        raise ShardError(f"{place} needs a package: pip {str(error).replace('Install', 'install')}") from error
    except Exception as error:  # the file systems of fsspec share no narrower type
        raise ShardError(f"{place} cannot be read: {type(error).__name__}: {error}") from error


def sharded_split(
    shards: Sequence[Shard], labels: Tensor, class_names: Sequence[str], request: SplitRequest, official: Container[str]
) -> ImageSet:
    """Return the requested split of the images in shards, in storage order, which is fastest to read.

    With a limit, images are drawn at random from a few shards, so that a trial run does not fetch all shards.

    Args:
        shards: Shards of the split if it is official, otherwise the shards for training.
        labels: Labels of all images, int64 (N,); ignored without class names.
        class_names: Name of each label; empty if unlabelled.
        request: Split to return.
        official: Splits with their own shards.
    """
    images = ShardedImages(shards, request.image_shape, request.resize)
    pool = ImageSet(images, labels if class_names else torch.zeros_like(labels), class_names)
    if request.split != "train" and request.split in official:
        rows = np.arange(len(pool))
    else:
        rows = request.rows(len(pool), request.split, official)
    if request.limit is not None and request.limit < len(rows):
        rows = _limited(rows, images.shard_of(rows), request.limit, np.random.default_rng(request.seed))
    return pool.subset(np.sort(rows))


def _limited(rows: np.ndarray, shards: np.ndarray, limit: int, generator: np.random.Generator) -> np.ndarray:
    order = generator.permutation(np.unique(shards))
    counts = np.cumsum([np.count_nonzero(shards == shard) for shard in order])
    selected = order[: 1 + int(np.searchsorted(counts, _POOL_RATIO * limit))]
    return generator.permutation(rows[np.isin(shards, selected)])[:limit]


def _warn_of_sizes(manifest: Manifest, request: SplitRequest, largest: int, are_fetched: bool) -> None:
    if manifest.image_shape not in (None, request.image_shape):
        packed, wanted = ("x".join(map(str, shape)) for shape in (manifest.image_shape or (), request.image_shape))
        warnings.warn(f"the shards were packed at {packed}, and their images are resized to {wanted}", stacklevel=3)
    needed = (OPEN_SHARDS + 2) * largest / 1e9
    if are_fetched and request.cache_gb < needed:
        warnings.warn(
            f"data.cache_gb is {request.cache_gb:g}, but the shards that are read at the same time take about "
            f"{needed:.2g} GB and would be fetched repeatedly; raise it or pack smaller shards",
            stacklevel=3,
        )


def shard_cache(request: SplitRequest) -> ShardCache:
    """Return the cache for shards that are not local."""
    return ShardCache(cache_folder(request.cache_dir) / "shards", round(1e9 * request.cache_gb))


def _index_path(root: str, entry: SplitEntry, cache: ShardCache) -> Path:
    place = join(root, entry.index)
    if is_address(place):
        indices = replace(cache, folder=cache.folder / "indices", max_bytes=sys.maxsize)
        fetch = partial(fetch_verified, place, sha256=entry.index_sha256)
        return indices.use(f"{place} {entry.index_sha256}", fetch, partial(Path.resolve, strict=True))
    if fault := fault_of(Path(place), sha256=entry.index_sha256):
        raise ShardError(f"index {place} {fault}; pack the folder again, or run glow data index")
    return Path(place)


def _read_index(path: Path, count: int) -> np.ndarray:
    try:
        index: np.ndarray = np.load(path, mmap_mode="r")[:]  # raises for an .npz archive
    except Exception as error:  # the type of error depends on where the file is damaged
        raise ShardError(f"index {path} is damaged: {' '.join(str(error).split())}") from error
    if index.shape != (count,) or index.dtype != INDEX:
        raise ShardError(f"index {path} is {index.dtype} {index.shape}; the manifest has {count} images")
    return index
