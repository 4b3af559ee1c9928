"""Write manifests for existing shards, and compare shards with their manifest."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from glow_app.data.request import SPLIT_OF, Split
from glow_app.data.sharded_images import ShardError
from glow_app.data.shards.addresses import fault_of, is_address
from glow_app.data.shards.manifest import MANIFEST, Manifest, SplitEntry
from glow_app.data.shards.pack import split_entry
from glow_app.data.shards.source import read_manifest


def index_folder(folder: Path) -> Manifest:
    """Write the manifest of a folder of tar files in WebDataset layout, and return it.

    The split of a file is the first word of its relative path that names one: train or training; val, valid, validation
    or dev; test, testing or eval; train by default. Subfolders are searched one level deep.

    Raises:
        FileExistsError: If there is a manifest already.
        ShardError: If there are no tar files, or one cannot be read.
    """
    if (folder / MANIFEST).exists():
        raise FileExistsError(f"{folder / MANIFEST} exists already; remove it to write it anew")
    tar_files: dict[Split, list[Path]] = {}
    for path in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        tar_files.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if not tar_files:
        raise ShardError(f"no tar files in {folder}; expected names such as train-000000.tar")
    splits = {split: split_entry(split, folder, paths) for split, paths in tar_files.items()}
    manifest = Manifest(splits, _class_names(folder, splits))
    manifest.write(folder)
    return manifest


def damaged_files(folder: str | Path) -> Iterator[str]:
    """Yield a message for each shard or index whose size or digest differs from the manifest.

    Raises:
        ValueError: If the folder is an address, or has no manifest.
    """
    if is_address(str(folder)):
        raise ValueError(f"glow data verify reads local folders, and {folder} is an address")
    manifest = read_manifest(str(folder))
    for entry in manifest.splits.values():
        files = [(entry.index, None, entry.index_sha256), *((s.file, s.bytes, s.sha256) for s in entry.shards)]
        for name, num_bytes, digest in files:
            path = Path(folder) / name
            if fault := fault_of(path, num_bytes, digest):
                yield f"{path} {fault}"


def _split_of(path: Path) -> Split:
    words = re.findall("[a-z]+", str(path).lower())
    return next((SPLIT_OF[word] for word in words if word in SPLIT_OF), "train")


def _class_names(folder: Path, splits: dict[Split, SplitEntry]) -> tuple[str, ...]:
    """Return a name for each label; no names if any image is unlabelled."""
    labels = np.concatenate([np.load(folder / entry.index)["label"] for entry in splits.values()])
    if (labels < 0).any():
        return ()
    width = len(str(labels.max()))
    return tuple(f"{label:0{width}d}" for label in range(labels.max() + 1))
