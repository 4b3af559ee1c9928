"""Drawn images as one picture."""

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from glow_app.models.class_labels import class_facts, class_name, class_turns, classes_of_seeds
from glow_app.models.image_model import ImageModel
from glow_app.pictures.captions import drawable
from glow_app.pictures.image_batch import LARGEST_TURN, Images

__all__ = ["class_caption", "num_shown", "sample_grid", "turn_length"]

LARGEST_GRID = 100  # images


def turn_length(model: ImageModel, label: int | Sequence[int] | None = None) -> int:
    """Return the number of images after which the classes of a grid repeat; 1 if classes have no columns.

    Args:
        model: The model.
        label: As for :func:`~glow_app.generation.sample_batches`.
    """
    turns = class_turns(model, label) or []
    return len(turns) if 1 < len(turns) <= LARGEST_TURN else 1


def num_shown(count: int, turn: int = 1) -> int:
    """Return how many of ``count`` images a grid shows: at most 100, in complete cycles of ``turn`` if not all."""
    return count if count <= LARGEST_GRID else LARGEST_GRID - LARGEST_GRID % turn


def class_caption(model: ImageModel, number: int) -> str:
    """Return the name of a class for a picture, or its number if the name cannot be drawn."""
    name = class_name(model, number)
    return str(number) if "?" in drawable(name) else name


def sample_grid(model: ImageModel, images: Tensor, seed: int, label: int | Sequence[int] | None = None) -> Image.Image:
    """Return images as one picture; up to 12 classes have columns of their own below their names.

    Args:
        model: The model of the images.
        images: (B, C, H, W), uint8, of the seeds from ``seed`` on.
        seed: Seed of the first image, which determines its class.
        label: As for :func:`~glow_app.generation.sample_batches`.
    """
    classes = classes_of_seeds(model, range(seed, seed + len(images)), label) or []
    return Images(images, [class_facts(model, number) for number in classes]).grid()
