"""What is asked of a source: one checked value instead of a dozen arguments."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Split = Literal["train", "validation", "test"]
Resize = Literal["crop", "stretch", "pad"]


@dataclass(frozen=True)
class SplitRequest:
    """One split of one source at one image shape; the fields are the arguments of :func:`load_split`.

    Raises:
        ValueError: If a value is out of range; the message says which are accepted.
    """

    split: Split
    image_shape: tuple[int, int, int]
    root: Path | None = None
    download: bool = False
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    resize: Resize = "crop"
    cache_dir: Path | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"unknown split {self.split!r}; use one of {', '.join(get_args(Split))}")
        if self.resize not in get_args(Resize):
            raise ValueError(f"unknown resize {self.resize!r}; use one of {', '.join(get_args(Resize))}")
        self._check_shape()
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 0 and below 1")
        if self.validation_fraction + self.test_fraction >= 1:
            total = self.validation_fraction + self.test_fraction
            raise ValueError(
                f"validation_fraction + test_fraction is {total:g}; keep it below 1 so images stay to train"
            )
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; expected at least 1, or None for the whole split")

    def _check_shape(self) -> None:
        shape = self.image_shape
        if len(shape) != 3 or not all(isinstance(size, int) and size > 0 for size in shape):
            raise ValueError(f"image_shape is {tuple(shape)}; expected three positive integers (C, H, W)")
        if shape[0] not in (1, 3):
            raise ValueError(f"image_shape {tuple(shape)} has {shape[0]} channels; supported are 1 (grey) and 3 (RGB)")
