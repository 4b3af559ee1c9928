"""How long a training step takes: timed, or told from a part of one."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from glow_app.bijections import ReversibleChain
from glow_app.flows.multiscale import level_shapes
from glow_app.model import ImageModel
from lightning_modules.random_step import RandomStep, one_step_a_level

__all__ = ["StepTime", "step_time"]

# Seconds up to which a step of the whole batch is timed.
PATIENCE = 10.0

# Pixels of the images that the part is timed on: enough to keep the processor as busy as a batch does.
PART_PIXELS = 20 * 32 * 32

OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]


class StepTime(NamedTuple):
    """What was found.

    Args:
        seconds: Of forward and backward pass and optimiser, on one batch.
        is_timed: Whether that was timed, and not told from a part.
    """

    seconds: float
    is_timed: bool


def step_time(
    model: ImageModel, optimizer: OptimizerFactory, step: RandomStep, batch_size: int, fits: bool
) -> StepTime:
    """Time a training step.

    Where a whole one would take long, or does not fit into the memory, one step of each level is timed on a few images:
    the steps of a level take the same time, and so do images.

    Args:
        model: What will be trained.
        optimizer: Called with the parameters.
        step: Forward and backward pass.
        batch_size: Images a step.
        fits: Whether the memory holds a whole one.
    """
    seconds = _from_a_part(model, optimizer, step, batch_size)
    if not fits or seconds > PATIENCE:
        return StepTime(seconds, False)
    update = _update(model.parameters(), optimizer)

    def whole() -> None:
        step(model, batch_size)
        update()

    return StepTime(_seconds(whole, model, step.device), True)


def _from_a_part(model: ImageModel, optimizer: OptimizerFactory, step: RandomStep, batch_size: int) -> float:
    flow = model.flow
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    size = max(1, min(batch_size, PART_PIXELS // (flow.image_shape[1] * flow.image_shape[2])))
    with one_step_a_level(model):
        passes = _seconds(lambda: step(model, size), model, step.device)
        update = _update(model.parameters(), optimizer)
        step(model, size)
        share = sum(parameter.numel() for parameter in model.parameters()) / num_parameters
        updates = _seconds(update, None, step.device) / share
    for level, shape in zip(flow.levels, level_shapes(flow.image_shape, len(flow.levels)), strict=True):
        assert isinstance(level, ReversibleChain)
        run = _level_step(level, shape, model, step, size)
        passes += (len(level.bijections) - 2) * _seconds(run, model, step.device)
    model.zero_grad()
    return passes * batch_size / size + updates


def _level_step(
    level: ReversibleChain, shape: tuple[int, int, int], model: ImageModel, step: RandomStep, size: int
) -> Callable[[], None]:
    chain = type(level)(level.bijections[1], memory=level.memory)  # type: ignore[arg-type]
    x = torch.randn(size, *shape, dtype=model.dtype, device=step.device).requires_grad_()
    labels = step.labels(model, size)

    def run() -> None:
        with step.context():
            z, log_det = chain(x, model.flow.embed(labels))
        (z.sum() + log_det.sum()).backward()

    return run


def _update(parameters: Iterable[Parameter], optimizer: OptimizerFactory) -> Callable[[], object]:
    found = optimizer(list(parameters))
    for group in found.param_groups:
        group["lr"] = 0.0  # nothing shall be learnt from noise, least of all at full rate
    return found.step


def _seconds(run: Callable[[], object], model: ImageModel | None, device: torch.device) -> float:
    """Return the seconds that it takes, after once to warm up; a model loses its gradients before."""
    for _ in range(2):
        if model is not None:
            model.zero_grad()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start
