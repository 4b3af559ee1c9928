"""Pack a folder of images into shards."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TextIO, get_args

import numpy as np

from glow_app.data import heif
from glow_app.data.bulk import read_listing
from glow_app.data.decoding import decode_image, open_image, readable_formats
from glow_app.data.listing import FolderListing, all_class_names, list_images, split_layout
from glow_app.data.request import Cut, Resize, Split
from glow_app.data.resizing import array_to_image
from glow_app.data.shards.manifest import Manifest, ShardEntry, SplitEntry
from glow_app.data.shards.tar import index_tar
from glow_app.data.unfinished import built_folder
from glow_app.files import atomic_file, sha256_of

_FILES_PER_CHUNK = 64


@dataclass(frozen=True)
class Packing(Cut):
    """Options for packing a folder, including its cut into splits.

    Args:
        image_shape: (C, H, W) to which images are converted, stored as PNG; None keeps their files unchanged.
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
        shard_bytes: Approximate size of a shard.
    """

    image_shape: tuple[int, int, int] | None = None
    resize: Resize = "crop"
    shard_bytes: int = 128_000_000


@dataclass
class Report:
    """Result of packing: manifest, total size of the shards, and name and reason for each skipped file."""

    manifest: Manifest
    num_bytes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def pack_folder(root: Path, output: Path, packing: Packing) -> Report:
    """Pack the images of a folder into shards with a manifest, in seeded order, with the splits of ``load_folder``.

    Every image is decoded once, so that all images in the shards are readable. The result is built beside ``output``
    and renamed at the end. The same folder and options give the same bytes.

    Raises:
        FileNotFoundError: If the folder does not exist.
        FileExistsError: If ``output`` exists.
        ValueError: If the folder has no readable image, or too few for its splits.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose another --output or remove it")
    parts = split_layout(list_images(root))
    with built_folder(output, (), lambda _: False) as building:
        report = Report(Manifest({}, all_class_names(parts), packing.image_shape))
        splits = {split: _pack_split(split, part, packing, building, report) for split, part in _cut(parts, packing)}
        report.manifest = replace(report.manifest, splits=splits)
        report.manifest.write(building)
    return report


def split_entry(split: Split, folder: Path, shards: Sequence[Path]) -> SplitEntry:
    """Write the index of a split's tar files into the manifest's folder; return the split's entry in the manifest.

    Raises:
        ShardError: If a tar file cannot be read.
    """
    indices = [index_tar(path) for path in shards]
    entries = tuple(
        ShardEntry(path.relative_to(folder).as_posix(), len(index), path.stat().st_size, sha256_of(path))
        for path, index in zip(shards, indices, strict=True)
    )
    path = folder / f"{split}.index.npy"
    with atomic_file(path) as file:  # replaces a link of that name instead of writing through it
        np.save(file, np.concatenate(indices))
    return SplitEntry(path.name, sha256_of(path), entries)


def _cut(parts: dict[Split, FolderListing], packing: Packing) -> Iterator[tuple[Split, FolderListing]]:
    """Yield the listing of each split, in seeded order."""
    fractions = {"train": 1.0, "validation": packing.validation_fraction, "test": packing.test_fraction}
    for split in get_args(Split):
        if split not in parts and not fractions[split]:
            continue
        part = parts.get(split, parts["train"])
        order = packing.rows(len(part.files), split, parts)
        yield split, FolderListing(part.root, tuple(part.files[index] for index in order))


def _pack_split(split: Split, listing: FolderListing, packing: Packing, folder: Path, report: Report) -> SplitEntry:
    with (folder / f"{split}.names.txt").open("w", encoding="utf-8", errors="surrogateescape") as names:
        images = _images(split, listing, packing, names, report)
        shards = list(_write_shards(split, images, packing.shard_bytes, folder))
    if not shards:
        first = "; ".join(f"{name} ({reason})" for name, reason in report.skipped[:3])
        raise ValueError(f"none of the {len(listing.files)} images for {split} in {listing.root} can be read: {first}")
    report.num_bytes += sum(path.stat().st_size for path in shards)
    return split_entry(split, folder, shards)


def _images(
    split: Split, listing: FolderListing, packing: Packing, names: TextIO, report: Report
) -> Iterator[tuple[str, bytes, int | None]]:
    """Yield suffix, content and label of each readable image; write the names of their files, one per line."""
    class_names = report.manifest.class_names
    read = partial(_read, image_shape=packing.image_shape, resize=packing.resize)
    for chunk in read_listing(listing, read, _FILES_PER_CHUNK, f"packing ({split})"):
        report.skipped += chunk.skipped
        # A name may contain line breaks.
        names.writelines(name.replace("\n", "\\n") + "\n" for name in chunk.names)
        labels = listing.labels(chunk.names, class_names) if class_names else [None] * len(chunk.names)
        for (suffix, content), label in zip(chunk.values, labels, strict=True):
            yield suffix, content, label


def _read(path: Path, image_shape: tuple[int, int, int] | None, resize: Resize) -> tuple[str, bytes]:
    """Return suffix and content for the shard: the unchanged file if it can be decoded, a PNG if resized or HEIC."""
    if image_shape is None and path.suffix.lower() not in heif.SUFFIXES:
        content = path.read_bytes()
        decode_image(content, (3, 8, 8), "stretch")
        suffix = path.suffix.lower()
        return suffix if suffix in readable_formats() else ".img", content
    file = io.BytesIO()
    image = open_image(path) if image_shape is None else array_to_image(decode_image(path, image_shape, resize))
    image.save(file, format="PNG")
    return ".png", file.getvalue()


def _write_shards(
    split: Split, images: Iterator[tuple[str, bytes, int | None]], shard_bytes: int, folder: Path
) -> Iterator[Path]:
    """Write the images into tar files of about ``shard_bytes``; yield their paths."""
    numbered = enumerate(images)
    for shard, first in enumerate(numbered):
        path = folder / f"{split}-{shard:06d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number, (suffix, content, label) in chain([first], numbered):
                _add(tar, f"{number:09d}{suffix}", content)
                if label is not None:
                    _add(tar, f"{number:09d}.cls", str(label).encode())
                if tar.offset >= shard_bytes:
                    break
        yield path


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # without owner and time, so that the same images give the same bytes
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
