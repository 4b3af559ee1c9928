"""Training, validation and test splits: their names, and a validated request for one, which divides the data."""

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext
from typing import Literal, get_args

import numpy as np

from glow_app.messages import pluralise

Split = Literal["train", "validation", "test"]
Resize = Literal["crop", "stretch", "pad"]

# Names of directories or files that contain a split.
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}


def named_splits(present: Iterable[str]) -> dict[Split, str]:
    """Return the name of each split's own directory or file, if present; case is ignored."""
    folded = {name.casefold(): name for name in sorted(present)}
    return {split: folded[name] for split, names in SPLIT_NAMES.items() for name in reversed(names) if name in folded}


def check_split(split: Split, limit: int | None) -> None:
    """Raise ValueError unless split and limit are valid."""
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}; use one of {', '.join(get_args(Split))}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1, or None for the whole split")


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """A validated request for one split of a source.

    Args:
        split: "train", "validation" or "test".
        image_shape: (C, H, W) of the images; C is 1 (grey) or 3 (RGB).
        seed: Seed of the division into splits.
        validation_fraction: Fraction held out for validation if the data set has no validation split.
        test_fraction: Fraction held out for testing if the data set has no test split.
        root: The image folder; for "datasets" a folder of Parquet, WebDataset tar or ``save_to_disk`` files; or the
            folder of torchvision's files (default ``$GLOW_DATA`` or ``~/.cache/glow/datasets``).
        download: Download missing files of torchvision's data sets; None where that is no option.
        resize: "crop" (short side scaled, centre kept), "stretch", or "pad" (long side scaled, black border; images
            of an array source that fit inside the target get the border without scaling).
        cache_dir: Cache of decoded folders (default ``$GLOW_CACHE`` or ``~/.cache/glow/folders``).
        limit: Maximum number of images of the split, chosen in seeded order.
        count: Number of faces that source "faces" renders, over all splits (default 10,000).
        attributes: A table of attributes, which are labels instead of classes; True for ``attributes.csv`` in the
            folder, or for those of faces.
    Raises:
        ValueError: If an argument is out of range.
    """

    split: Split
    image_shape: tuple[int, int, int]
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    root: Path | None = None
    download: bool | None = None
    resize: Resize = "crop"
    cache_dir: Path | None = None
    limit: int | None = None
    count: int | None = None
    attributes: Path | bool | None = None

    def __post_init__(self) -> None:
        check_split(self.split, self.limit)
        fractions = self._fractions.values()
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise ValueError(f"got {_described(self._fractions)}; expected 0 or more, and less than 1 in total")
        if self.resize not in get_args(Resize):
            raise ValueError(f"unknown resize {self.resize!r}; use one of {', '.join(get_args(Resize))}")
        if len(self.image_shape) != 3 or self.image_shape[0] not in (1, 3) or min(self.image_shape) < 1:
            raise ValueError(f"image_shape is {self.image_shape}; expected (C, H, W), with C 1 (grey) or 3 (RGB)")

    def folder(self, source: str) -> Path:
        """Return the root; raise ValueError if there is none."""
        if self.root is None:
            raise ValueError(f"source {source!r} needs a folder; pass --data.root DIR (glow evaluate: --root DIR)")
        return self.root

    def rows(self, examples: int | Sequence[str], official: Container[str] = ()) -> np.ndarray:
        """Return the positions of the split, shuffled, so that a limit keeps a mixture of classes.

        The three splits are disjoint and cover everything. An official split is returned whole.

        Args:
            examples: Number of examples, divided by a permutation. Or their names, whose hashes decide:
                no example moves when others come, go or cannot be read, and the fractions are met on average. Only a
                split that would be empty gets the example with the nearest hash.
            official: Splits with examples of their own, for which nothing is held out.
        Shape:
            int64 (n,).
        Raises:
            ValueError: If the requested split, or any with a positive fraction, would be empty.
        """
        split = self.split
        fractions = {name: 0.0 if name in official else fraction for name, fraction in self._fractions.items()}
        order, sizes = self._divided(examples, fractions)
        if split != "train" and split in official:
            return order
        if split != "train" and not fractions[split]:
            raise ValueError(f"there is no {split} split: {split}_fraction is 0; set it above 0, for example to 0.1")
        needed = ["train", *(name for name, fraction in fractions.items() if fraction)]
        if len(order) < len(needed):
            few = f"{pluralise(len(order), 'image')}, too few: {', '.join(needed)} need at least one each"
            raise ValueError(f"{few}; add images")
        for name in needed:
            if sizes[name] < 1:
                few = f"{len(order)} images are too few: {_described(fractions)} leave none for {name}"
                raise ValueError(f"{few}; add images or change the fractions")
        test, validation, train = np.split(order, [sizes["test"], sizes["test"] + sizes["validation"]])
        return {"train": train, "validation": validation, "test": test}[split]

    def _divided(
        self, examples: int | Sequence[str], fractions: Mapping[str, float]
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Return all positions, first those of the test, then of the validation, and the size of each split."""
        if isinstance(examples, int):
            order = np.random.default_rng(self.seed).permutation(examples)
            sizes = {name: round(examples * fraction) for name, fraction in fractions.items()}
        else:
            hashes = np.array([self._hash(name) for name in examples])
            order = np.argsort(hashes, kind="stable")
            held_out, test = (int((hashes < end).sum()) for end in (sum(fractions.values()), fractions["test"]))
            test = max(test, int(fractions["test"] > 0))
            sizes = {"validation": max(held_out - test, int(fractions["validation"] > 0)), "test": test}
        return order, sizes | {"train": len(order) - sum(sizes.values())}

    def _hash(self, name: str) -> float:
        """Return the hash of a file's name, from 0 to 1; a picture in two formats, or converted, keeps its hash."""
        text = f"{self.seed}/{splitext(name)[0]}".encode("utf-8", "surrogateescape")
        return int.from_bytes(hashlib.blake2b(text, digest_size=6).digest(), "little") / 2**48

    @property
    def _fractions(self) -> dict[str, float]:
        return {"validation": self.validation_fraction, "test": self.test_fraction}


def _described(fractions: Mapping[str, float]) -> str:
    return " and ".join(f"{name}_fraction {fraction:g}" for name, fraction in fractions.items())
