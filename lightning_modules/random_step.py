"""The work of a training step, on random images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glow_app.model import ImageModel
from glow_app.nn import DataDependentAffine

__all__ = ["RandomStep", "one_step_a_level", "skip_initialization"]


@dataclass(frozen=True)
class RandomStep:
    """Forward and backward pass of a model.

    Args:
        device: Where.
        context: Of the precision.
    """

    device: torch.device
    context: Callable[[], AbstractContextManager[object]]

    def __call__(self, model: ImageModel, size: int) -> None:
        """Run it on so many images."""
        images = torch.randint(0, 256, (size, *model.flow.image_shape), dtype=torch.uint8, device=self.device)
        with self.context():
            loss = model(images, self.labels(model, size)).mean()
        loss.backward()

    def labels(self, model: ImageModel, size: int) -> Tensor:
        """Return labels of random classes."""
        return torch.randint(0, model.flow.num_classes or 1, (size,), device=self.device)


def skip_initialization(model: ImageModel) -> None:
    """Let every actnorm that is not initialised be the identity: as much work, and no pass of a batch beforehand."""
    for module in model.modules():
        if isinstance(module, DataDependentAffine):
            module.initialized.fill_(True)
            # Asks the buffer now, since a copy without values could not.
            module.require_initialized()


@contextmanager
def one_step_a_level(model: ImageModel) -> Iterator[None]:
    """Leave out all steps of a level but the first: the levels' work in little."""
    levels, memory = model.flow.levels, model.flow.memory
    # The squeeze comes first.
    model.flow.levels = nn.ModuleList(type(level)(*list(level.bijections)[:2]) for level in levels)  # type: ignore[arg-type]
    model.flow.memory = memory
    try:
        yield
    finally:
        model.flow.levels = levels
