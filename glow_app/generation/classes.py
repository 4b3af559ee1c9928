"""Which class an image is of, by what a class-conditional model finds likely."""

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.messages import closest
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generators

__all__ = ["class_facts", "class_name", "class_number", "class_probabilities", "class_text", "infer_labels"]


def class_number(model: ImageModel, name: str) -> int:
    """Return the number of a class.

    Args:
        model: A class-conditional model.
        name: Number of the class as text, or its name in any case, if the model has names; a number has priority.
    Raises:
        ValueError: If the model has no classes, or not this one.
    """
    num_classes = model.flow.num_classes
    if num_classes is None:
        raise ValueError("this model is not class-conditional; leave --label out")
    known = {known_name.casefold(): number for number, known_name in enumerate(model.class_names)}
    known |= {str(number): number for number in range(num_classes)}
    if name.casefold() not in known:
        names = f", or one of {', '.join(model.class_names)}" if model.class_names else ""
        meant = closest(name, model.class_names)
        raise ValueError(f"there is no class {name}; expected 0 to {num_classes - 1}{names}{meant}")
    return known[name.casefold()]


def class_name(model: ImageModel, number: int) -> str:
    """Return the name of a class, or its number where the model does not know names."""
    return model.class_names[number] if model.class_names else str(number)


def class_facts(model: ImageModel, *numbers: int) -> dict[str, int | str]:
    """Return what a picture says of its class: ``label``, and ``class``, the name, where the model knows it.

    Args:
        model: The model.
        numbers: Class numbers; several are joined by commas. Without any, the result is empty.
    """
    if not numbers:
        return {}
    label = numbers[0] if len(numbers) == 1 else ", ".join(map(str, numbers))
    names = ", ".join(model.class_names[number] for number in numbers) if model.class_names else None
    return {"label": label, **({} if names is None else {"class": names})}


def class_text(model: ImageModel, number: int) -> str:
    """Return the number of a class with its name, where the model knows it."""
    return f"{number} ({model.class_names[number]})" if model.class_names else str(number)


def class_probabilities(model: ImageModel, images: Tensor, *, seed: int = 0, batch_size: int = 16) -> Tensor:
    r"""Return the probability of each class given the image, all classes being equally frequent, (B, M), float64.

    .. math:: p(c \mid y) = \frac{p(y \mid c)}{\sum_{c'} p(y \mid c')}

    for one draw of dequantisation noise, the same under every class and of the same seed for every image, so that
    images are independent of each other. Flows are overconfident: most probabilities are near 0 or 1, and they do not
    measure how often the class is right.

    Args:
        model: A class-conditional model.
        images: uint8, (B, C, H, W).
        seed: Of the noise.
        batch_size: Images at a time, under one class after the other.
    Raises:
        ValueError: If the model has no classes, or the images do not fit.
    """
    if model.flow.num_classes is None:
        raise ValueError("this model is not class-conditional: there are no classes to infer")
    parts = []
    for part in images.to(model.device).split(batch_size):
        with record_solves(image_generators([seed] * len(part))):
            parts.append(model.bits_table(part, generator=image_generators([seed] * len(part))).probabilities.cpu())
    return torch.cat(parts)


def infer_labels(model: ImageModel, images: Tensor, *, seed: int = 0, batch_size: int = 16) -> Tensor:
    r"""Return the likeliest class of each image, :math:`\arg\max_c p(y \mid c)`, (B,), int64.

    Args:
        model: A class-conditional model.
        images: uint8, (B, C, H, W).
        seed: As of :func:`class_probabilities`.
        batch_size: Images at a time, under one class after the other.
    Raises:
        ValueError: If the model has no classes, or the images do not fit.
    """
    return class_probabilities(model, images, seed=seed, batch_size=batch_size).argmax(1)
