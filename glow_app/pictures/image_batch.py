"""Images from a model: a uint8 tensor with its seeds, and methods for saving, conversion and display."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor
from torch.nn import Parameter

from glow_app.files import FORMAT_OF
from glow_app.messages import in_words, pluralise
from glow_app.pictures.encoding import png_bytes
from glow_app.pictures.images import columns_for, drawable, grid, save_picture, to_pil

MOST_COLUMNS = 12  # most values in turn; with more, captions and images would be too small
_SHOWN = 100  # maximum number of images in a notebook


class Images(Tensor):
    """A uint8 tensor (B, C, H, W), or (C, H, W) for a single image, with the seed and settings of each image.

    It is a tensor in every respect. Results of tensor operations are plain tensors, as for parameters, but whole
    images, such as ``images[0]``, ``images[:4]`` or ``images.cpu()``, remain :class:`Images`. A notebook shows them as
    a grid.

    Args:
        images: uint8 (B, C, H, W) or (C, H, W).
        facts: Seed, temperature and what was given of each image; empty if unknown.
    """

    facts: Sequence[dict[str, Any]] = ()
    __torch_function__ = Parameter.__torch_function__

    def __new__(cls, images: Tensor, facts: Sequence[dict[str, Any]] = ()) -> "Images":
        """Return a view of the tensor."""
        view = images.as_subclass(cls)
        view.facts = facts
        return view

    @property
    def seeds(self) -> list[int]:
        """The seed of each image; empty if unknown."""
        return [fact["seed"] for fact in self.facts]

    @property
    def given(self) -> list[Any]:
        """What each image was given, such as its class; empty if nothing."""
        return [fact["given"] for fact in self.facts if "given" in fact]

    @property
    def common_facts(self) -> dict[str, Any]:
        """The facts that all images share, and their seeds."""
        if len(self.facts) < 2:
            return self.facts[0] if self.facts else {}
        first, seeds = self.facts[0], self.seeds
        are_consecutive = seeds == list(range(seeds[0], seeds[0] + len(seeds)))
        head = {"seed": seeds[0], "count": len(seeds)} if are_consecutive else {"seed": ", ".join(map(str, seeds))}
        return head | {
            name: value
            for name, value in first.items()
            if name != "seed" and all(fact.get(name) == value for fact in self.facts)
        }

    @property
    def captions(self) -> list[str]:
        """What each image was given as text, empty for attributes, or if the font cannot draw it; none for nothing."""
        texts = ["" if isinstance(value, Mapping) else in_words(value) for value in self.given]
        return ["" if "?" in drawable(text) else text for text in texts]

    def pil(self) -> list[Image.Image]:
        """Return each image as a Pillow image."""
        return [to_pil(image) for image in self._batch()]

    def grid(self) -> Image.Image:
        """Return all images as a grid; if they were given up to 12 values in turn, each value has captioned columns."""
        names = self.captions
        periods = range(1, min(len(names), MOST_COLUMNS) + 1)
        period = next((period for period in periods if names[period:] == names[:-period]), 1)
        return grid(self._batch(), columns_for(len(self._batch()), period), above=names if period > 1 else ())

    def save(self, path: str | Path) -> Path:
        """Write a grid (or a single image) to a file such as ``faces.png``, or a numbered PNG per image into a folder.

        PNGs contain seed, temperature and what was given, for ``glow info``. Existing files are replaced.

        Args:
            path: A file, whose suffix is that of PNG, JPEG, WebP or TIFF, or a folder; folders are created if they do
                not exist.
        Returns:
            The path.
        Raises:
            ValueError: If the path has the suffix of another image format, or the images have neither 1 nor 3 channels.
        """
        path = Path(path)
        if path.suffix.lower() in FORMAT_OF:
            save_picture(self.grid() if self.ndim == 4 else to_pil(self), path, self.common_facts)
            return path
        if path.suffix.lower() in Image.registered_extensions():
            raise ValueError(f"{path} has the suffix of another format; expected a file such as NAME.png, or a folder")
        facts = self.facts or [{}] * len(self._batch())
        for number, (image, fact) in enumerate(zip(self._batch(), facts, strict=True)):
            seed = f"_seed{fact['seed']}" if "seed" in fact else ""
            save_picture(to_pil(image), path / f"{number:04d}{seed}.png", fact)
        return path

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the images on another device, or a plain tensor of another type; arguments as for ``Tensor.to``."""
        moved = super().to(*args, **kwargs)
        return Images(moved, self.facts) if moved.dtype == self.dtype else moved

    def cpu(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the images in the memory of the CPU."""
        return self.to("cpu", *args, **kwargs)

    @overload
    def __getitem__(self, index: int | slice | list[int]) -> "Images": ...

    @overload
    def __getitem__(self, index: Any) -> Tensor: ...

    def __getitem__(self, index: Any) -> Tensor:
        chosen = super().__getitem__(index)
        if self.ndim != 4 or isinstance(index, tuple) or chosen.ndim not in (3, 4):
            return chosen
        rows = torch.arange(len(self), device=self.device)[index].flatten().tolist() if self.facts else []
        return Images(chosen, [self.facts[row] for row in rows])

    def __deepcopy__(self, memo: dict[int, Any]) -> "Images":
        memo[id(self)] = copied = Images(self.clone(), deepcopy(self.facts, memo))
        return copied

    def __iter__(self) -> "Iterator[Images]":
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:  # type: ignore[override]
        facts = {name: value for name, value in self.common_facts.items() if name != "count"}
        size = f"{pluralise(len(self._batch()), 'image')} of {'x'.join(map(str, self.shape[-3:]))}"
        return ", ".join([size, *(f"{name} {in_words(value)}" for name, value in facts.items())])

    def _repr_png_(self) -> bytes | None:
        if self.shape[-3] not in (1, 3) or not len(self):
            return None
        return png_bytes(Images(self._batch()[:_SHOWN], self.facts[:_SHOWN]).grid())

    def _batch(self) -> Tensor:
        return self if self.ndim == 4 else self[None]
