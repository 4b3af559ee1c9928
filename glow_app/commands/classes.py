"""Classes of pictures, from `--label` or folder names, or inferred."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glow_app.messages import pluralise, printable

if TYPE_CHECKING:
    from torch import Tensor

    from glow_app.models.image_model import ImageModel

LISTED = 20  # maximum number of pictures to list individually; beyond it, classes are counted


class PictureClasses:
    """Labels of batches: ``--label``, or else the class named like a picture's folder, or the most likely class."""

    def __init__(self, model: "ImageModel", label: int | Sequence[int] | None) -> None:
        self._model, self._label = model, label
        self._inferred: list[tuple[str, int, float]] = []
        self._by_folder: Counter[int] = Counter()

    def of(self, images: "Tensor", names: Sequence[str]) -> "Tensor | None":
        """Return the class of each picture, (B,), int64; None for a model without classes."""
        import torch

        from glow_app.generation import class_probabilities
        from glow_app.models.class_labels import as_labels

        labels = as_labels(self._model, self._label, len(images))
        if labels is not None or self._model.flow.num_classes is None:
            return labels
        numbers = {name: number for number, name in enumerate(self._model.class_names)}
        labels = torch.tensor([numbers.get(Path(name).parent.name, -1) for name in names])
        self._by_folder.update(labels[labels >= 0].tolist())
        rows = labels.lt(0).nonzero().flatten()
        if len(rows):
            probabilities, labels[rows] = class_probabilities(self._model, images[rows]).max(1)
            unknown = (names[row] for row in rows.tolist())
            self._inferred += zip(unknown, labels[rows].tolist(), probabilities.tolist(), strict=True)
        return labels

    def report(self) -> None:
        """Print how many classes are from folders, and the inferred ones, for each picture or as counts if many."""
        from glow_app.models.class_labels import class_text

        listed = self._inferred if len(self._inferred) <= LISTED else []
        counted = Counter(number for _, number, _ in self._inferred[len(listed) :])
        for how, counts in (("from the names of their folders", self._by_folder), ("inferred", counted)):
            if counts:
                texts = [f"{num} of class {class_text(self._model, number)}" for number, num in sorted(counts.items())]
                print(printable(f"classes of {pluralise(counts.total(), 'picture')}, {how}: {', '.join(texts)}"))
        for name, number, probability in listed:
            text = class_text(self._model, number)
            print(printable(f"{name}: class {text}, inferred with probability {probability:.2f}"))
