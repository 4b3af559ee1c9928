"""Figures of a deep flow from those of its first steps."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from glow_app.flows import Level
from glow_app.models.image_model import ImageModel

__all__ = ["at_full_depth"]

# Steps per level that are run. With fewer, the peak of memory is at another moment than in a deep flow.
SHALLOW, DEEP = 4, 8


def at_full_depth(model: ImageModel, measure: Callable[[], float]) -> float:
    """Return a figure that grows linearly with the steps, from calls of ``measure`` while each level has only a few."""
    depths = [len(level.bijections) - 1 for level in model.flow.levels]  # type: ignore[arg-type]

    def work(most: int) -> float:
        # The next level has a quarter of the pixels.
        return sum(min(depth, most) / 4**number for number, depth in enumerate(depths))

    with _at_most(model, SHALLOW):
        shallow = measure()
    if max(depths) <= SHALLOW:
        return shallow
    with _at_most(model, DEEP):
        deep = measure()
    return deep + max(0.0, deep - shallow) * (work(max(depths)) - work(DEEP)) / (work(DEEP) - work(SHALLOW))


@contextmanager
def _at_most(model: ImageModel, num_steps: int) -> Iterator[None]:
    """Leave the flow the squeeze and the first steps of each level."""
    flow = model.flow
    levels = flow.levels
    flow.levels = nn.ModuleList(Level(*list(level.bijections)[: 1 + num_steps]) for level in levels)  # type: ignore[arg-type]
    model.run_levels(model.memory, model.compiled)
    try:
        yield
    finally:
        flow.levels = levels
