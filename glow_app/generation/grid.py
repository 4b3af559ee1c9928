"""How many images a grid shows, and which are below each other."""

from glow_app.models.class_labels import ClassTurns, class_turns
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import LARGEST_TURN

LARGEST_GRID = 100  # images


def turn_length(model: ImageModel, label: ClassTurns = None) -> int:
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
