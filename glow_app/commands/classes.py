"""The classes of pictures: given by `--label`, or inferred and printed."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel

__all__ = ["PictureClasses", "given_labels"]

LISTED = 20  # pictures listed one by one; of more, the classes are counted


def given_labels(label: int | Sequence[int] | None, count: int) -> "Tensor | None":
    """Return ``--label``, one for all or one per picture, as a tensor for all pictures; None if omitted."""
    import torch

    return None if label is None else torch.full((count,), label) if isinstance(label, int) else torch.tensor(label)


class PictureClasses:
    """Labels of pictures in batches: ``--label``, or the most probable class of each if that is None."""

    def __init__(self, model: "ImageModel", label: int | Sequence[int] | None) -> None:
        self._model, self._label = model, label
        self._inferred: list[tuple[str, int, float]] = []

    def of(self, images: "Tensor", names: Sequence[str]) -> "Tensor | None":
        """Return the class of each picture, (B,), int64; None for a model without classes."""
        from glow_app.generation import class_probabilities

        labels = given_labels(self._label, len(images))
        if labels is not None or self._model.flow.num_classes is None:
            return labels
        probabilities, labels = class_probabilities(self._model, images).max(1)
        self._inferred += zip(names, labels.tolist(), probabilities.tolist(), strict=True)
        return labels

    def tell(self) -> None:
        """Print the inferred class of each picture or, of many pictures, the count of each class."""
        from glow_app.generation import class_text

        if len(self._inferred) <= LISTED:
            for name, number, probability in self._inferred:
                text = class_text(self._model, number)
                print(f"{name}: class {text}, inferred with probability {probability:.2f}")
            return
        counts = sorted(Counter(number for _, number, _ in self._inferred).items())
        texts = ", ".join(f"{count} of {class_text(self._model, number)}" for number, count in counts)
        print(f"classes of {len(self._inferred)} pictures, inferred: {texts}")
