"""Classes as what is known about an image: their names, numbers and embeddings, with guidance."""

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.conditioning.conditioning import Conditioning, Given
from glow_app.data.image_set import ImageSet
from glow_app.messages import closest, is_line
from glow_app.nn.shape_checks import require_at_least


class ClassConditioning(Conditioning):
    r"""A learned vector per class, extrapolated away from the mean of all classes by a guidance :math:`w`.

    .. math:: c = e_y + (w - 1)\, (e_y - \bar e), \qquad \bar e = \frac{1}{M} \sum_{k=1}^M e_k

    What is given is a class by number or name, one for all images or one per image. Draws without it have the class of
    their seed modulo M.

    Args:
        num_classes: Number of classes :math:`M`.
        features: Size :math:`E` of a vector.
    Shape:
        given: (B,), int64, from 0 to :math:`M - 1`; context: (B, E).
    Raises:
        ValueError: If a size is below 1.
    """

    guided = True

    def __init__(self, num_classes: int, features: int = 32) -> None:
        super().__init__()
        require_at_least(1, num_classes=num_classes, features=features)
        self.num_classes = num_classes
        # nn.Embedding(...) would import torch's compiler on the meta device.
        self.embedding = nn.Embedding.from_pretrained(torch.randn(num_classes, features), freeze=False)
        self.names = ()

    @property
    def features(self) -> int:
        """Size E of a vector."""
        return self.embedding.embedding_dim

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class; empty if unknown.

        Raises:
            ValueError: When set, if there is not a name per class, or a name is not a line of text.
        """
        return self._names

    @names.setter
    def names(self, names: Sequence[str]) -> None:
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and is_line(name) for name in names):
            raise ValueError("class names must be a list of one-line strings")
        if names and len(names) != self.num_classes:
            raise ValueError(f"got {len(names)} names for {self.num_classes} classes")
        self._names = tuple(names)
        # The number as text takes precedence over a name.
        by_name = {name: number for number, name in enumerate(names)}
        self._numbers = by_name | {str(number): number for number in range(self.num_classes)}

    @property
    def values(self) -> Sequence[int]:
        """The class numbers."""
        return range(self.num_classes)

    def unknown(self, num: int) -> Tensor:
        """Raise the ValueError that says what must be given."""
        raise ValueError(f"this model needs `given`: a class from 0 to {self.num_classes - 1}, or its name")

    def read(self, given: Given, num: int) -> Tensor:
        """Return class numbers, (num,), int64, of a class by number or name, of one per image, or of a tensor.

        Names match in any case if that is unambiguous; numbers take precedence over names.

        Raises:
            ValueError: If there is no such class, or not one per image.
        """
        if not isinstance(given, Tensor):
            each = self._each(given, num, "classes")
            return torch.tensor([self._number(value) for value in each], dtype=torch.long)
        if given.ndim > 1 or given.is_floating_point() or given.dtype == torch.bool:
            raise ValueError(
                f"classes are {given.dtype} of shape {tuple(given.shape)}; expected numbers of shape ({num},)"
            )
        numbers = given.long().expand(num) if given.ndim == 0 else given.long()
        if len(numbers) != num:
            raise ValueError(f"got {len(numbers)} classes for {num} images")
        if num and self._is_checkable(numbers) and not 0 <= numbers.min() <= numbers.max() < self.num_classes:
            span = f"from {int(numbers.min())} to {int(numbers.max())}"
            raise ValueError(f"classes are {span}; expected 0 to {self.num_classes - 1}")
        return numbers

    def forward(self, given: Tensor) -> Tensor:
        """Return the embeddings, (B, E)."""
        embedded: Tensor = self.embedding(given)
        return embedded

    def emphasis(self, known: Tensor, asked: Tensor) -> Tensor:
        """Return the embeddings minus the mean of all classes, (B, E)."""
        return self(known) - self.embedding.weight.mean(0)

    def plain(self, given: Tensor | None) -> list[int | str]:
        """Return each class by name or, if the name is unknown or is also the number of another class, by number."""
        if given is None or not self._names:
            return super().plain(given)
        return [name if self._numbers[name := self._names[number]] == number else number for number in given.tolist()]

    def of_folder(self, name: str) -> int | None:
        """Return the number of the class of exactly this name."""
        return self._names.index(name) if name in self._names else None

    def adopt(self, images: ImageSet) -> None:
        """Take over the names of the classes; warn of those without images; raise ValueError if the number differs."""
        if len(images.class_names) != self.num_classes:
            names = ", ".join(images.class_names[:10]) or "none in a flat folder"
            raise ValueError(
                f"num_classes is {self.num_classes}, but the images have {len(images.class_names)} classes ({names})"
            )
        self.names = images.class_names
        counts = torch.bincount(images.labels, minlength=self.num_classes).tolist()
        if missing := [name for name, count in zip(images.class_names, counts, strict=True) if not count]:
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            warnings.warn(
                f"classes without a picture to train on, whose samples will be noise: {names}; add pictures or leave "
                "these out",
                stacklevel=2,
            )

    def align(self, images: ImageSet) -> ImageSet:
        """Return the images with this model's order of classes; warn of other names; raise ValueError if unfit.

        Images of an unlabelled folder stay as they are; this model does not know their classes.
        """
        if not images.class_names:
            return images
        if sorted(self._names) == sorted(images.class_names):
            images = images.with_class_order(self._names)
        if len(images.class_names) != self.num_classes:
            raise ValueError(
                f"the model has {self.num_classes} classes, and the images have {len(images.class_names)}; "
                "give images of the classes that it was trained on"
            )
        _warn_of_other_names(self._names, images.class_names)
        return images

    def knows(self, images: ImageSet) -> bool:
        """Return whether the images have classes; in an unlabelled folder, all labels are 0."""
        return bool(images.class_names)

    @property
    def facts(self) -> dict[str, Any]:
        """The names of the classes, if known."""
        return {"classes": list(self._names)} if self._names else {}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take the names of the classes from a stored model; if the data has given others, keep those and warn."""
        adopted, self.names = self._names, facts.get("classes", ())
        if adopted:
            _warn_of_other_names(self._names, adopted)
            self.names = adopted

    @property
    def config(self) -> dict[str, object]:
        """The number of classes and the size of a vector."""
        return {"num_classes": self.num_classes, "features": self.features}

    def _number(self, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (Integral, str)):
            raise ValueError(f"a class is {value!r:.40}; expected a whole number or a name")
        name = str(value)
        alike = [name] if name in self._numbers else [n for n in self._numbers if n.casefold() == name.casefold()]
        if len(alike) == 1:
            return self._numbers[alike[0]]
        name = name[:100]  # an untrusted name may have any length
        names = f", or one of {', '.join(self._names)}" if self._names else ""
        raise ValueError(
            f"there is no class {name}; expected 0 to {self.num_classes - 1}{names}{closest(name, self._names)}"
        )


def _warn_of_other_names(known: Sequence[str], names: Sequence[str]) -> None:
    """Warn if the classes of a model, whose names may be unknown, have other names in the data."""
    for before, now in zip(known, names, strict=False):
        if before != now:
            warnings.warn(f"class {before!r} of the model is {now!r} here; classes are matched by number", stacklevel=4)
            return
