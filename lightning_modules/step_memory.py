"""How much memory a training step needs in each of the memory modes."""

from typing import get_args

from glow_app.bijections import Memory
from glow_app.counted_memory import Counted, ShapesOnly, ValuesNeededError
from glow_app.model import ImageModel
from glow_app.peak_memory import peak_memory
from lightning_modules.random_step import RandomStep, one_step_a_level

__all__ = ["step_memory"]

# Two batches whose difference is the memory of the images between them, where it has to be measured.
SMALL, LARGE = 1, 5


def step_memory(model: ImageModel, step: RandomStep, batch_size: int) -> dict[Memory, tuple[int, int]]:
    """Return, for each mode, the bytes of a step, and the most of them that grow with the batch, for each image.

    Parameters, gradients and optimiser state are left out. It is counted without running the step, unless what is run
    depends on values, as in an adaptive solver: then two small batches are measured.

    Args:
        model: Initialised.
        step: Forward and backward pass.
        batch_size: Images a step.
    """
    # A module that is imported when it is needed first must not be imported while tensors have no values: its own would
    # have none for ever.
    with one_step_a_level(model):
        step(model, SMALL)
    model.zero_grad()
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    shapes, chosen = ShapesOnly(model), model.flow.memory
    found: dict[Memory, tuple[int, int]] = {}
    for mode in get_args(Memory):
        shapes.model.flow.memory = model.flow.memory = mode
        try:
            counted = shapes.count(step, batch_size)
        except ValuesNeededError:
            counted = _measured(model, step, batch_size)
        found[mode] = (counted.peak - gradients, counted.an_example)
    model.flow.memory = chosen
    return found


def _measured(model: ImageModel, step: RandomStep, batch_size: int) -> Counted:
    """Run two small batches, and tell the memory of a large one from their difference."""

    def peak(size: int) -> int:
        model.zero_grad()
        return peak_memory(lambda: step(model, size), step.device)

    small, large = peak(SMALL), peak(LARGE)
    model.zero_grad()
    slope = (large - small) // (LARGE - SMALL)
    return Counted(large + (batch_size - LARGE) * slope, slope)
