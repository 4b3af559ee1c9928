"""The contract of a restoration task: the damage that a conditional model learns to undo."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from glow_app.pictures.inputs import Picture, as_photo


class RestorationTask(ABC):
    r"""How clean images are damaged, and what a damaged picture determines of its original.

    A model with a task learns :math:`p(x \mid c(d(x)))`, where d is :meth:`damage` and c is :meth:`condition`. To add a
    task, implement :meth:`damage`, and override the other methods where their defaults do not fit.

    Shape:
        images: clean, uint8 (B, C, H, W); damaged: uint8 (B, D, h, w), with the height and width of the images unless
        the task says otherwise; condition: uint8 (B, E, H, W), where E is :meth:`condition_channels`.
    """

    factor: int = 1  # ratio of the sides of the restored picture to those of the damaged one
    takes: ClassVar[Mapping[str, Literal["picture", "number"]]] = {}  # further inputs, by name
    has_mask: bool = False  # whether the last channel of the condition is a mask, above 127 where pixels are missing
    condition_name: str = "damaged picture"  # the name of what the flow sees, in reports
    # Bounds of the change of the median block, root mean square, grey levels: below the first, only places that change
    # much more are corrected, because restoring removes texture; above the second, it is unlike those of training.
    least_change: float = 0.0
    most_change: float = math.inf

    @abstractmethod
    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return damaged copies of clean images.

        Draw random numbers only from ``generator``, by :func:`~glow_app.restoration.damage.damage_each` for NumPy and
        Pillow, or by ``draw_rows``.
        """

    def picture_channels(self, num_channels: int) -> int:
        """Return the number of channels of the input picture, given those of the restored one."""
        return num_channels

    def prepare(self, picture: Tensor, **inputs: Any) -> Tensor:
        """Convert a picture to restore, uint8 (C, h, w), into the form that :meth:`damage` returns.

        Args:
            picture: C is :meth:`picture_channels`.
            inputs: Further inputs, of the names and kinds in :attr:`takes`: a picture as uint8 (1, h, w), or a number.
        Raises:
            ValueError: If the task does not take an input, or an input does not fit the picture.
        """
        for name in inputs:
            if name not in self.takes:
                raise ValueError(f"{type(self).__name__} takes no input {name!r}; leave it out")
        return picture

    def read(self, picture: Picture, num_channels: int, **inputs: Any) -> Tensor:
        """Return a picture from the user in the form that :meth:`damage` returns, uint8 (D, h, w).

        Args:
            picture: A file name, a Pillow image, a uint8 array (h, w, C) or (h, w), or a tensor (C, h, w), which
                :meth:`prepare` converts; or, without further inputs, a tensor (D, h, w) in the form of :meth:`damage`.
            inputs: As for :meth:`prepare`, with pictures in any of these forms; None for nothing.
        Raises:
            ValueError: If the picture cannot be read or is of another type or shape, or :meth:`prepare` refuses it.
        """
        inputs = {name: value for name, value in inputs.items() if value is not None}
        num_channels = self.picture_channels(num_channels)
        if isinstance(picture, Tensor) and not inputs and (not self.takes or picture.shape[:1] != (num_channels,)):
            damaged = picture
        else:
            for name, value in inputs.items():
                inputs[name] = as_photo(value, 1) if self.takes.get(name) == "picture" else value
            damaged = self.prepare(as_photo(picture, num_channels), **inputs)
        if damaged.dtype != torch.uint8 or damaged.ndim != 3 or not damaged.numel():
            shape = tuple(damaged.shape)
            raise ValueError(f"damaged is {damaged.dtype} of shape {shape}; expected torch.uint8, (D, h, w)")
        return damaged

    def condition_channels(self, num_channels: int) -> int:
        """Return the number of channels of the condition for images with ``num_channels``."""
        return num_channels

    def condition(self, damaged: Tensor) -> Tensor:
        """Return the input of the flow, with the height and width of the restored picture.

        Its first channels look like the restored picture; the flow models the difference from them.
        """
        return damaged

    def reconcile(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Change the restored pictures as little as needed to agree with all that the damaged ones determine."""
        return restored

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor | None:
        """Return which pictures agree with the damaged ones, (B,); None if these determine nothing exactly."""
        return None

    def missing(self, damaged: Tensor) -> Tensor | None:
        """Return where pixels are missing, boolean (B, 1, H, W), if only these are restored; otherwise None."""
        return None
