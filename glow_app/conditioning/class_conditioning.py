"""Classes as what is known about an image: a vector each, with guidance; and their names and numbers."""

import warnings
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.conditioning.conditioning import Conditioning
from glow_app.conditioning.vocabulary import Vocabulary
from glow_app.data.image_set import ImageSet
from glow_app.messages import closest, is_line
from glow_app.nn.shape_checks import require_at_least
from glow_app.spec import register


@register("classes")
class ClassConditioning(Conditioning):
    r"""A learned vector per class, extrapolated away from the mean of all classes by a guidance :math:`w`.

    .. math:: c = e_y + (w - 1)\, (e_y - \bar e), \qquad \bar e = \frac{1}{M} \sum_{k=1}^M e_k

    Args:
        num_classes: Number of classes :math:`M`.
        features: Size :math:`E` of a vector.
    Shape:
        given: (B,), int64, from 0 to :math:`M - 1`; context: (B, E).
    Raises:
        ValueError: If a size is below 1.
    """

    def __init__(self, num_classes: int, features: int = 32) -> None:
        super().__init__()
        require_at_least(1, num_classes=num_classes, features=features)
        self.num_classes, self.features = num_classes, features
        weight = torch.empty(num_classes, features)
        if not weight.is_meta:  # where models are rebuilt; there, random numbers would import torch's compiler
            nn.init.normal_(weight)
        self.embedding = nn.Embedding.from_pretrained(weight, freeze=False)

    def forward(self, given: Tensor) -> Tensor:
        """Return the vectors of classes, (B, E)."""
        embedded: Tensor = self.embedding(given)
        return embedded

    def unknown(self, num: int) -> Sequence[Tensor]:
        """Return each of the classes, (num,), int64."""
        return torch.arange(self.num_classes)[:, None].expand(-1, num).unbind()

    def guidance(self, filled: Tensor, given: Tensor) -> Tensor:
        """Return the vectors minus the mean of all classes, (B, E)."""
        return self(filled) - self.embedding.weight.mean(0)

    def vocabulary(self) -> "ClassVocabulary":
        """Return the vocabulary of the classes, without names."""
        return ClassVocabulary(self)


class ClassVocabulary(Vocabulary):
    """Classes by name or number; names match in any case if that is unambiguous, and numbers take precedence.

    Attributes:
        names: The name of each class; empty if unknown.
    """

    def __init__(self, conditioning: ClassConditioning) -> None:
        super().__init__(conditioning)
        self.num_classes = conditioning.num_classes
        self.set_names(())

    def set_names(self, names: Sequence[str]) -> None:
        """Name the classes, or make their names unknown.

        Raises:
            ValueError: If there is neither a name per class nor none, or a name is not a line of text.
        """
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and is_line(name) for name in names):
            raise ValueError("class names must be a list of one-line strings")
        if names and len(names) != self.num_classes:
            raise ValueError(f"got {len(names)} names for {self.num_classes} classes")
        # The number as text takes precedence over a name.
        numbers = {name: number for number, name in enumerate(names)}
        self.names, self._numbers = tuple(names), numbers | {str(n): n for n in range(self.num_classes)}

    def value(self, value: Any) -> int:
        """Return the number of a class by name or number."""
        if isinstance(value, bool) or not isinstance(value, (Integral, str)):
            raise ValueError(f"a class is {value!r:.40}; expected a whole number or a name")
        name = str(value)
        alike = [name] if name in self._numbers else [n for n in self._numbers if n.casefold() == name.casefold()]
        if len(alike) == 1:
            return self._numbers[alike[0]]
        name = name[:100]  # an untrusted name may have any length
        names = f", or one of {', '.join(self.names)}" if self.names else ""
        raise ValueError(
            f"there is no class {name}; expected 0 to {self.num_classes - 1}{names}{closest(name, self.names)}"
        )

    def check(self, given: Tensor) -> None:
        """Raise ValueError unless the tensor has numbers of classes."""
        if given.ndim > 1 or given.is_floating_point() or given.dtype == torch.bool:
            raise ValueError(f"classes are {given.dtype} of shape {tuple(given.shape)}; expected whole numbers, (B,)")
        if len(given) and not 0 <= given.min() <= given.max() < self.num_classes:
            span = f"from {int(given.min())} to {int(given.max())}"
            raise ValueError(f"classes are {span}; expected 0 to {self.num_classes - 1}")

    def format(self, given: Tensor | None) -> list[int | str]:
        """Return each class by name or, if the name is unknown or is also the number of another class, by number."""
        if given is None or not self.names:
            return super().format(given)
        return [name if self._numbers[name := self.names[number]] == number else number for number in given.tolist()]

    @property
    def values(self) -> list[int | str]:
        """All classes, as :meth:`format` returns them."""
        return self.format(torch.arange(self.num_classes))

    def from_folder(self, name: str) -> int | None:
        """Return the number of the class of exactly this name."""
        return self.names.index(name) if name in self.names else None

    def learn(self, images: ImageSet) -> None:
        """Learn the names of the classes; warn of those without images; raise ValueError if the number differs."""
        if len(images.class_names) != self.num_classes:
            names = ", ".join(images.class_names[:10]) or "none in a flat folder"
            raise ValueError(
                f"num_classes is {self.num_classes}, but the images have {len(images.class_names)} classes ({names})"
            )
        self.set_names(images.class_names)
        counts = torch.bincount(images.labels, minlength=self.num_classes).tolist()
        if missing := [name for name, count in zip(images.class_names, counts, strict=True) if not count]:
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            warnings.warn(
                f"classes without a picture to train on, whose samples will be noise: {names}; add pictures or leave "
                "these out",
                stacklevel=2,
            )

    def relabel(self, images: ImageSet) -> ImageSet:
        """Return the images with this model's order of classes; warn of other names; raise ValueError if unfit.

        Images of an unlabelled folder stay as they are; their classes are unknown.
        """
        if not images.class_names:
            return images
        if sorted(self.names) == sorted(images.class_names):
            images = images.with_class_order(self.names)
        if len(images.class_names) != self.num_classes:
            raise ValueError(
                f"the model has {self.num_classes} classes, and the images have {len(images.class_names)}; "
                "give images of the classes that it was trained on"
            )
        _warn_of_other_names(self.names, images.class_names)
        return images

    def has_labels(self, images: ImageSet) -> bool:
        """Return whether the images have classes; in an unlabelled folder, all labels are 0."""
        return bool(images.class_names)

    @property
    def facts(self) -> dict[str, Any]:
        """The names of the classes, if known."""
        return {"classes": list(self.names)} if self.names else {}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take the names of the classes from a stored model; if the data has given others, keep those and warn."""
        learnt = self.names
        self.set_names(facts.get("classes", ()))
        if learnt:
            _warn_of_other_names(self.names, learnt)
            self.set_names(learnt)


def _warn_of_other_names(before: Sequence[str], now: Sequence[str]) -> None:
    """Warn if the classes of a model, whose names may be unknown, have other names in the data."""
    for old, new in zip(before, now, strict=False):
        if old != new:
            warnings.warn(f"class {old!r} of the model is {new!r} here; classes are matched by number", stacklevel=4)
            return
