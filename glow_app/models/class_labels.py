"""Classes of an image model: names, numbers, and the class of each seed."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from glow_app.flows import Glow
from glow_app.messages import closest

Labels = Tensor | Sequence[int | str] | int | str
ClassTurns = Sequence[int | str] | int | str | None


class HasClasses(Protocol):
    """A model with a flow and class names."""

    flow: Glow

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class; empty if unknown."""


def as_labels(model: HasClasses, labels: Labels | None, num: int) -> Tensor | None:
    """Return labels as an int64 tensor; None is returned unchanged.

    Args:
        model: The model.
        labels: The class of all images, by number or name, or one per image.
        num: Number of images.
    Raises:
        ValueError: If the model has no classes or not this one, or the number of labels is wrong.
    """
    if labels is None:
        return None
    if isinstance(labels, Tensor):
        if labels.ndim > 1 or labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(
                f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected class numbers of shape ({num},)"
            )
        labels = labels.long().expand(num) if labels.ndim == 0 else labels.long()
        if len(labels) != num:
            raise ValueError(f"there are {len(labels)} labels for {num} images")
        return labels
    each = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else [labels] * num
    if len(each) != num:
        raise ValueError(f"there are {len(each)} labels for {num} images")
    names = [str(label) for label in each]
    # Distinct names are looked up only once, because there may be thousands of labels.
    numbers = {name: class_number(model, name) for name in set(names)}
    return torch.tensor([numbers[name] for name in names], dtype=torch.long)


def class_number(model: HasClasses, name: str) -> int:
    """Return the number of a class.

    Args:
        model: A class-conditional model.
        name: Number of the class as text, or its name, in any case if that is unambiguous; numbers take precedence.
    Raises:
        ValueError: If the model has no classes, not this one, or several whose names differ from it only in case.
    """
    num_classes = model.flow.num_classes
    if num_classes is None:
        raise ValueError("this model is not class-conditional; leave the label out")
    numbers = {known: number for number, known in enumerate(model.class_names)}
    numbers |= {str(number): number for number in range(num_classes)}
    alike = [known for known in numbers if known.casefold() == name.casefold()]
    if name in numbers or len(alike) == 1:
        return numbers[name if name in numbers else alike[0]]
    if alike:
        raise ValueError(f"there are several classes {name}; expected one of {', '.join(alike)}")
    names = f", or one of {', '.join(model.class_names)}" if model.class_names else ""
    meant = closest(name, model.class_names)
    raise ValueError(f"there is no class {name}; expected 0 to {num_classes - 1}{names}{meant}")


def class_facts(model: HasClasses, *numbers: int) -> dict[str, int | str]:
    """Return the metadata of a picture's class: ``label``, and ``class``, the name, if known.

    Args:
        model: The model.
        numbers: Class numbers; several are joined by commas. Without numbers, the result is empty.
    """
    if not numbers:
        return {}
    facts: dict[str, int | str] = {"label": numbers[0] if len(numbers) == 1 else ", ".join(map(str, numbers))}
    if model.class_names:
        facts["class"] = ", ".join(model.class_names[number] for number in numbers)
    return facts


def class_text(model: HasClasses, number: int) -> str:
    """Return the number of a class, with its name if known."""
    return f"{number} ({model.class_names[number]})" if model.class_names else str(number)


def class_turns(model: HasClasses, label: ClassTurns) -> Sequence[int] | None:
    """Return the classes to cycle through; the image of seed s has class ``classes[s % len(classes)]``.

    Args:
        model: The model; without classes, the result is None.
        label: A class or several, by number or name; None means all.
    Raises:
        ValueError: If the model has no classes or not this one, or the sequence is empty.
    """
    num_classes = model.flow.num_classes
    if label is None:
        return None if num_classes is None else range(num_classes)
    each = [label] if isinstance(label, (int, str)) else label
    if not len(each):
        raise ValueError("there are no labels; expected one class or several, or None for all")
    return [class_number(model, str(name)) for name in each]


def classes_of_seeds(model: HasClasses, seeds: Sequence[int], label: ClassTurns) -> list[int] | None:
    """Return the class of each seed; None if the model has no classes.

    Raises:
        ValueError: As :func:`class_turns`.
    """
    turns = class_turns(model, label)
    return None if turns is None else [turns[seed % len(turns)] for seed in seeds]


def labels_of_seeds(model: HasClasses, seeds: Sequence[int], label: ClassTurns) -> Tensor | None:
    """Return :func:`classes_of_seeds` as a tensor, (B,), int64."""
    classes = classes_of_seeds(model, seeds, label)
    return None if classes is None else torch.tensor(classes)
