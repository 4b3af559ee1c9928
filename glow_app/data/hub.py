"""Image data sets of the Hugging Face hub, read file by file as they are needed."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from glow_app.data.base import ImageSet
from glow_app.data.request import SPLIT_NAMES, Split, SplitRequest
from glow_app.data.shards.images import ShardedImages
from glow_app.data.shards.parquet import ParquetShard, read_table
from glow_app.data.shards.source import cut, shard_cache
from glow_app.places import HUB

if TYPE_CHECKING:
    from datasets import Features

__all__ = ["load_hub"]


def load_hub(request: SplitRequest) -> ImageSet:
    """Load one split of ``hf://NAME[:CONFIGURATION][@REVISION]``, a data set that is kept as Parquet.

    Only its files' footers and labels are read at first; a file's images are fetched when the first of them is wanted.
    What the images are is told by the types of the columns: the first image column, and the first of class labels.

    Args:
        request: What to load; ``address`` names it. NAME may be a local folder as well.
    Raises:
        ValueError: If the data set is not there, has no images, or is kept in another format.
    """
    assert request.address is not None
    files, features = _resolve(request.address)
    official = {split: next((name for name in names if name in files), None) for split, names in SPLIT_NAMES.items()}
    split: Split = request.split if official[request.split] else "train"
    name = official[split]
    if name is None:
        raise ValueError(f"{request.address} has no split to train on, only {', '.join(files)}")
    cache = shard_cache(request)
    table = read_table(files[name], cache, features)
    column = table.image_column
    shards = [ParquetShard(file, count, column, cache) for file, count in zip(files[name], table.counts, strict=True)]
    images = ShardedImages(shards, request.image_shape, request.resize)
    labels = torch.from_numpy(table.labels)
    is_labelled = bool(table.class_names) and bool((labels >= 0).all())
    names = table.class_names if is_labelled else ()
    pool = ImageSet(images, labels if is_labelled else torch.zeros_like(labels), names)
    return cut(pool, images, request, official={split for split, name in official.items() if name is not None})


def _resolve(address: str) -> "tuple[dict[str, list[str]], Features | None]":
    """Return the paths or addresses of the files of every split, and what is known of their columns."""
    try:
        from datasets import load_dataset_builder
    except ImportError as error:
        raise ValueError(f"{address} needs the package datasets: pip install 'glow-app[hub]'") from error
    name, revision, configuration = address.removeprefix(HUB), "", ""
    if not Path(name).exists():
        name, _, revision = name.partition("@")
        name, _, configuration = name.partition(":")
    try:
        builder = load_dataset_builder(name, configuration or None, revision=revision or None)
    except Exception as error:  # of the hub, of the network, of the data set's own description
        raise ValueError(f"{address} cannot be read from the hub: {' '.join(str(error).split())}") from error
    files = {str(split): [str(file) for file in found] for split, found in (builder.config.data_files or {}).items()}
    formats = {Path(file).suffix for found in files.values() for file in found}
    if formats != {".parquet"}:
        raise ValueError(
            f"{address} is kept as {', '.join(sorted(formats)) or 'no files'}, and only Parquet is read; the hub's own "
            f"conversion is often at {HUB}{name}@refs/convert/parquet"
        )
    return files, builder.info.features
