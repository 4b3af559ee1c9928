"""The contract of a vocabulary: what people write and read about images, as tensors and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet

Given = Any  # a value for all images, one per image, or a tensor from `Vocabulary.parse`; None for nothing


class Vocabulary:
    """What people write and read about images, as tensors for a conditioning and back; here numbers.

    Commands, the server and data sets use it; the conditioning never sees text. To give values names, override
    :meth:`value`, :meth:`check` and :meth:`format`.

    Args:
        conditioning: The network that takes the tensors, a :class:`Conditioning`.
    """

    def __init__(self, conditioning: Any) -> None:  # its file imports this one
        self.conditioning = conditioning

    def parse(self, given: Given, num: int) -> Tensor | None:
        """Return what is given for ``num`` images as a tensor, (num, ...), or None for nothing.

        Args:
            given: A value for all images, or a sequence with one per image, as people write them, such as a name or a
                number; or a tensor of this form, which is checked.
        Raises:
            ValueError: If a value is unknown or out of range, or there is not one per image.
        """
        if given is None:
            return None
        if not self.conditioning.features:
            raise ValueError("this model is unconditional; leave out what is given")
        if not isinstance(given, Tensor):
            is_sequence = isinstance(given, Iterable) and not isinstance(given, (str, Mapping))
            values = list(given) if is_sequence else [given] * num
            given = torch.tensor(np.array([self.value(value) for value in values]))
        given = given.expand(num) if given.ndim == 0 else given
        if len(given) != num:
            raise ValueError(f"got {len(given)} values for {num} images")
        self.check(given)
        return given if given.is_floating_point() else given.long()

    def value(self, value: Any) -> Any:
        """Return the number, or the row of numbers, that a value stands for; raise ValueError if it is unknown."""
        try:
            return np.array(value, np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a given value is {value!r:.40}; expected a number") from error

    def check(self, given: Tensor) -> None:
        """Raise ValueError if a tensor, (B, ...), has a value that the conditioning does not take."""
        if not given.isfinite().all():
            raise ValueError("a given value is not finite; expected a number")

    def format(self, given: Tensor | None) -> list[Any]:
        """Return the value of each image as plain types that :meth:`parse` takes, for metadata; empty for nothing."""
        if given is None:
            return []
        values: Any = given.detach().cpu().numpy()
        # 0.3 instead of 0.30000001192092896, which is its float32
        return list((values.astype(str).astype(float) if given.is_floating_point() else values).tolist())

    @property
    def values(self) -> list[Any]:
        """All values that can be given, if they are few; otherwise none."""
        return []

    def default(self, seeds: Sequence[int], given: Tensor | None = None) -> Tensor | None:
        """Return what images of these seeds are drawn with: what is given, or else the possible values in turn.

        Raises:
            ValueError: If something must be given.
        """
        if given is not None:
            return given
        rows = self.conditioning.unknown(len(seeds))
        return None if rows[0] is None else torch.stack([rows[seed % len(rows)][n] for n, seed in enumerate(seeds)])

    def describe(self) -> dict[str, Any] | None:
        """Return the kind of what can be given and, if they are few, all values, as plain types; None for nothing."""
        has_any = bool(self.conditioning.features)
        return {"kind": type(self.conditioning).__name__, "values": self.values} if has_any else None

    def from_folder(self, name: str) -> Given:
        """Return what the pictures in a folder of this name are given; None if the name does not say."""
        return None

    def learn(self, images: ImageSet) -> None:
        """Learn from the training data, such as names of classes; raise ValueError if it does not fit."""

    def relabel(self, images: ImageSet) -> ImageSet:
        """Return images to measure the model on with labels as in training; raise ValueError if they do not fit."""
        return images

    def has_labels(self, images: ImageSet) -> bool:
        """Return whether the labels of these images mean what those of the training data did."""
        return True

    @property
    def facts(self) -> dict[str, Any]:
        """What was learnt in words, as plain types; stored with the model, but not part of its hash."""
        return {}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take :attr:`facts` from those of a stored model; raise ValueError if they are damaged."""
