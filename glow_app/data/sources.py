"""All image sources by name, and the one function that loads from them."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import cast

from glow_app.data.base import ImageSet
from glow_app.data.digits import load_digits_split
from glow_app.data.folder import load_folder
from glow_app.data.request import Resize, Split, SplitRequest
from glow_app.data.torchvision_sets import load_cifar10, load_fashion_mnist, load_mnist

SOURCES: dict[str, Callable[[SplitRequest], ImageSet]] = {
    "digits": load_digits_split,
    "fashion_mnist": load_fashion_mnist,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "folder": load_folder,
}


def load_split(
    source: str,
    split: Split,
    image_shape: tuple[int, int, int],
    *,
    root: str | Path | None = None,
    download: bool = False,
    seed: int = 0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    resize: Resize = "crop",
    cache_dir: str | Path | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Load one split of an image source as uint8 images of one shape.

    An official test split is used as it is, and validation is cut from the training images; a source without one is
    cut in three. The cut is a permutation of positions that only ``seed`` decides: the splits are disjoint, cover
    everything and are the same in every run. Images that already have the wanted shape keep their bytes.

    Args:
        source: One of ``SOURCES``: "digits", "fashion_mnist", "mnist", "cifar10", "folder".
        split: "train", "validation" or "test".
        image_shape: Wanted (C, H, W), C being 1 (grey) or 3 (RGB).
        root: The image folder, or where the data set's files lie (default ``$GLOW_DATA`` or
            ``~/.cache/glow/datasets``).
        download: Fetch missing files of the torchvision sets.
        seed: Decides the splits.
        validation_fraction: Share of the training images held out for validation.
        test_fraction: Share held out for the test where the source has no official one.
        resize: "crop" (short side scaled, centre kept), "stretch", or "pad" (long side scaled, black border; images
            of an array source that fit inside the target get the border without scaling).
        cache_dir: Where decoded folders are kept (default ``$GLOW_CACHE`` or ``~/.cache/glow/folders``).
        limit: Keep only the first so many images of the split, in seeded order.
    Raises:
        ValueError: If an argument is out of range, a file damaged, or there are too few images for the split.
        FileNotFoundError: If the data is not there.
    """
    if source not in SOURCES:
        close = difflib.get_close_matches(source, SOURCES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown source {source!r}; {hint}known are {', '.join(SOURCES)}")
    request = SplitRequest(
        split=split,
        image_shape=cast(tuple[int, int, int], tuple(image_shape)),
        root=None if root is None else Path(root).expanduser(),
        download=download,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        resize=resize,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        limit=limit,
    )
    return SOURCES[source](request)
