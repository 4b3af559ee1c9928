"""What is asked of a source: one checked value instead of a dozen arguments."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
Resize = Literal["crop", "stretch", "pad"]

# What each split is called by those who keep images in directories or files of their own for it.
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}
SPLIT_OF: dict[str, Split] = {name: split for split, names in SPLIT_NAMES.items() for name in names}


def own_splits(present: Iterable[str]) -> dict[Split, str]:
    """Return the splits that have a directory or file among those present, and its name, in any case."""
    known = {name.casefold(): name for name in sorted(present)}
    return {split: known[name] for split, names in SPLIT_NAMES.items() for name in reversed(names) if name in known}


def check_cut(split: Split, validation_fraction: float, test_fraction: float, limit: int | None, noun: str) -> None:
    """Raise ValueError, saying what is accepted, unless the values cut a split out of a set of ``noun``."""
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; use one of {', '.join(get_args(Split))}")
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 <= fraction < 1:
            raise ValueError(f"{name} is {fraction}; expected at least 0 and below 1")
    if (total := validation_fraction + test_fraction) >= 1:
        raise ValueError(f"validation_fraction + test_fraction is {total:g}; keep it below 1 so {noun} stay to train")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1, or None for the whole split")


@dataclass(frozen=True)
class SplitRequest:
    """One split of one source at one image shape; the fields are the arguments of :func:`load_split`.

    What was given as its root stands in ``address`` where it is none on the local disk, such as https://host/shards.

    Raises:
        ValueError: If a value is out of range; the message says which are accepted.
    """

    split: Split
    image_shape: tuple[int, int, int]
    root: Path | None = None
    address: str | None = None
    download: bool = False
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    resize: Resize = "crop"
    cache_dir: Path | None = None
    cache_gb: float = 50.0
    limit: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        check_cut(self.split, self.validation_fraction, self.test_fraction, self.limit, noun="images")
        if self.resize not in get_args(Resize):
            raise ValueError(f"unknown resize {self.resize!r}; use one of {', '.join(get_args(Resize))}")
        if not self.cache_gb > 0:
            raise ValueError(f"cache_gb is {self.cache_gb}; expected a number of gigabytes above 0")
        if self.count is not None and self.count < 1:
            raise ValueError(f"count is {self.count}; expected at least 1, or None for the usual number")
        self._check_shape()

    def _check_shape(self) -> None:
        shape = self.image_shape
        if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise ValueError(f"image_shape is {tuple(shape)}; expected three positive integers (C, H, W)")
        if shape[0] not in (1, 3):
            raise ValueError(f"image_shape {tuple(shape)} has {shape[0]} channels; supported are 1 (grey) and 3 (RGB)")
