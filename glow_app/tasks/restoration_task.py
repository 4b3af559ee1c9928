"""The contract of a restoration task: the damage that a conditional model learns to undo."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from glow_app.seeding import draw_rows


class RestorationTask(ABC):
    r"""How clean images are damaged, and what a damaged picture determines of its original.

    A model with a task learns :math:`p(x \mid c(d(x)))`, where d is :meth:`damage` and c is :meth:`condition`. To add a
    task, implement :meth:`damage`, and override the other methods where their defaults do not fit.

    Shape:
        images: clean, uint8 (B, C, H, W); damaged: uint8 (B, D, h, w), with the height and width of the images unless
        the task says otherwise; condition: uint8 (B, E, H, W), where E is :meth:`condition_channels`.
    """

    factor: int = 1  # ratio of the sides of the restored picture to those of the damaged one
    takes: Sequence[str] = ()  # optional arguments of :meth:`prepare`: "mask", "sigma"

    @abstractmethod
    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return damaged copies of clean images; draw random numbers only by ``draw_rows`` from ``generator``."""

    def picture_channels(self, num_channels: int) -> int:
        """Return the number of channels of the input picture, given those of the restored one."""
        return num_channels

    def prepare(self, picture: Tensor, mask: Tensor | None = None, sigma: float | None = None) -> Tensor:
        """Convert a picture to restore, uint8 (C, h, w), into the form that :meth:`damage` returns.

        Args:
            picture: C is :meth:`picture_channels`.
            mask: uint8 (1, h, w), at least 128 where pixels are missing; for tasks that take a mask.
            sigma: Standard deviation of the noise, grey levels; for tasks that take it.
        Raises:
            ValueError: If the task does not take an argument, or it does not fit the picture.
        """
        for name, value in (("mask", mask), ("sigma", sigma)):
            if value is not None and name not in self.takes:
                raise ValueError(f"{name}: the task {type(self).__name__} takes none; leave it out")
        return picture

    def note(self, damaged: Tensor) -> str | None:
        """Return a message on how a prepared picture differs from training, or None."""
        return None

    def condition_channels(self, num_channels: int) -> int:
        """Return the number of channels of the condition for images with ``num_channels``."""
        return num_channels

    def condition(self, damaged: Tensor) -> Tensor:
        """Return the input of the flow, with the height and width of the restored picture.

        Its first channels look like the restored picture; the flow models the difference from them.
        """
        return damaged

    def known(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Change the restored pictures as little as needed to agree with all that the damaged ones determine."""
        return restored

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor | None:
        """Return which pictures agree with the damaged ones, (B,); None if these determine nothing exactly."""
        return None

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, for exported models; by default all attributes of the instance."""
        return dict(vars(self))


def draw_seeds(num: int, generator: torch.Generator | None) -> list[int]:
    """Draw a seed per image, for damage that is applied image by image."""
    return draw_rows(partial(torch.randint, 2**31), (num,), generator).tolist()
