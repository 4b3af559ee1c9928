"""The contract of a task: a damage that a model conditioned on the damaged picture learns to undo."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from glow_app.seeding import draw_rows


class RestorationTask(ABC):
    r"""How clean images are damaged, and what a damaged picture tells of its original.

    A model with a task learns :math:`p(x \mid c(d(x)))`, where d is :meth:`damage` and c is :meth:`condition`. To add a
    task, write :meth:`damage`, and the other methods where the defaults do not fit.

    Shape:
        images: clean, uint8 (B, C, H, W); damaged: uint8 (B, D, h, w), with the height and width of the images unless
        the task says otherwise; condition: uint8 (B, E, H, W), where E is :meth:`condition_channels`.
    """

    factor: int = 1  # sides of the restored picture, relative to those of the damaged one
    takes: Sequence[str] = ()  # what :meth:`prepare` takes beside the picture: "mask", "sigma"

    @abstractmethod
    def damage(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return damaged copies of clean images; random numbers come from ``generator`` by ``draw_rows`` alone."""

    def picture_channels(self, num_channels: int) -> int:
        """Return the number of channels of a picture from which one with ``num_channels`` is restored."""
        return num_channels

    def prepare(self, picture: Tensor, mask: Tensor | None = None, sigma: float | None = None) -> Tensor:
        """Return a picture that somebody wants restored, as :meth:`damage` returns a damaged copy.

        Args:
            picture: uint8 (C, h, w), C being :meth:`picture_channels`.
            mask: What is missing, uint8 (1, h, w), 128 or more where it is; for tasks that take a mask.
            sigma: Standard deviation of its noise, grey levels; for tasks that take one.
        Raises:
            ValueError: If the task does not take what is given, or it does not fit the picture.
        """
        for name, value in (("mask", mask), ("sigma", sigma)):
            if value is not None and name not in self.takes:
                raise ValueError(f"{name}: the task {type(self).__name__} takes none; leave it out")
        return picture

    def note(self, damaged: Tensor) -> str | None:
        """Return, for people, how a picture that :meth:`prepare` returned differs from training; None if not known."""
        return None

    def condition_channels(self, num_channels: int) -> int:
        """Return the number of channels of the condition of images with ``num_channels``."""
        return num_channels

    def condition(self, damaged: Tensor) -> Tensor:
        """Return the picture that the flow sees, of the height and width of the restored one.

        Its first channels look like the restored picture; the flow models the difference from them.
        """
        return damaged

    def known(self, restored: Tensor, damaged: Tensor) -> Tensor:
        """Return the restored pictures changed as little as makes them agree with what the damaged ones determine."""
        return restored

    def agrees(self, restored: Tensor, damaged: Tensor) -> Tensor | None:
        """Return which restored pictures have what the damaged ones determine, (B,); None if that is nothing."""
        return None

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, for exported models: by default all attributes of the instance."""
        return dict(vars(self))


def draw_seeds(num: int, generator: torch.Generator | None) -> list[int]:
    """Return a seed per image, for damage that is drawn image by image."""
    return draw_rows(partial(torch.randint, 2**31), (num,), generator).tolist()
