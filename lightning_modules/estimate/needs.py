"""Memory and time of a training, measured on steps of random images."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from glow_app.flows import Level
from glow_app.models.image_model import ImageModel
from glow_app.nn import DataDependentAffine
from glow_app.progress import tracked
from glow_app.running import Memory
from lightning_modules.density import DensityModule
from lightning_modules.estimate.peak_memory import peak_memory
from lightning_modules.training_module import OptimizerFactory

# Pixels of a measured batch: enough for activations to outweigh the weights of a layer, and to keep a processor busy.
PIXELS = 40 * 32 * 32

# Steps per level that are run. With fewer, the peak of memory is at another moment than in a deep flow.
SHALLOW, DEEP = 4, 8

# Seconds, and bytes on a CPU, up to which a whole step is timed: little enough to leave a laptop usable.
PATIENCE, ROOM = 10.0, 2e9

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Needs:
    """What a training needs.

    Args:
        num_parameters: Of the model.
        fixed_bytes: Parameters, gradients, optimiser state and averages.
        memory: For each mode, the bytes of a step beyond those, and what another image adds.
        step_seconds: Forward pass, backward pass and optimiser on one batch.
        is_timed: Whether a whole step was timed, not extrapolated.
    """

    num_parameters: int
    fixed_bytes: int
    memory: dict[Memory, tuple[int, int]]
    step_seconds: float
    is_timed: bool


def estimate(module: DensityModule, batch_size: int, device: torch.device, context: Context) -> Needs:
    """Measure training steps of one process on random images; the model counts as initialised afterwards."""
    model = module.to(device if device.type == "cuda" else "cpu").model  # no other device counts its memory
    memory = step_memory(model, batch_size, context)
    fixed = 3 * sum(parameter.nbytes for parameter in model.parameters()) + _state_bytes(module.optimizer, model)
    room = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else ROOM
    fits = fixed + memory[model.memory][0] < room
    seconds, is_timed = _step_time(module.to(device).model, module.optimizer, batch_size, context, fits)
    return Needs(sum(parameter.numel() for parameter in model.parameters()), fixed, memory, seconds, is_timed)


def step_seconds(module: DensityModule, batch_size: int, context: Context) -> float:
    """Return the time of a step; the model counts as initialised afterwards."""
    _count_as_initialized(module.model)
    return _step_time(module.model, module.optimizer, batch_size, context, fits=True)[0]


def step_memory(model: ImageModel, batch_size: int, context: Context) -> dict[Memory, tuple[int, int]]:
    """Return, for each mode, the bytes of a step beyond weights, gradients and optimiser, and what another image adds.

    Large batches are extrapolated, not run. Afterwards the model counts as initialised, and there are no gradients.
    """
    chosen, many = (model.memory, model.compiled), _measured_images(model)

    def peak(size: int) -> float:
        def measure() -> int:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)  # there from the start, as when batches are accumulated
            return peak_memory(lambda: _step(model, size, context), model.device)

        return _of_largest_part(model, lambda: _at_full_depth(model, measure))

    _count_as_initialized(model)
    peak(1)  # the first step of a process allocates what no later step does
    memory: dict[Memory, tuple[int, int]] = {}
    modes = get_args(Memory)
    for mode in tracked(modes, len(modes), "measuring memory"):
        model.set_runners(mode)
        low, high = peak(many // 2), peak(many)
        slope = (high - low) / (many - many // 2)
        total = peak(batch_size) if batch_size < many else high + (batch_size - many) * slope
        memory[mode] = round(total), round(slope)
    model.set_runners(*chosen)
    model.zero_grad()
    return memory


def _count_as_initialized(model: ImageModel) -> None:
    for module in model.modules():
        if isinstance(module, DataDependentAffine):
            module.initialized.fill_(True)  # an identity costs the same


def _at_full_depth(model: ImageModel, measure: Callable[[], float]) -> float:
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
    model.set_runners(model.memory, model.compiled)
    try:
        yield
    finally:
        flow.levels = levels


def _state_bytes(optimizer: OptimizerFactory, model: ImageModel) -> int:
    """Return the bytes that the optimiser keeps, from one parameter of each shape."""
    counts = Counter(parameter.shape for parameter in model.parameters())
    samples = {shape: Parameter(torch.zeros(shape, dtype=model.dtype)) for shape in counts}
    sampled = optimizer(list(samples.values()))
    for parameter in samples.values():
        parameter.grad = torch.zeros_like(parameter)
    sampled.step()
    return sum(
        counts[shape] * sum(value.nbytes for value in sampled.state[parameter].values() if isinstance(value, Tensor))
        for shape, parameter in samples.items()
    )


def _step_time(
    model: ImageModel, optimizer: OptimizerFactory, batch_size: int, context: Context, fits: bool
) -> tuple[float, bool]:
    """Return the seconds of a step, and whether a whole one was timed, which needs to fit into memory and be short."""

    def seconds(size: int) -> float:
        passes = _seconds(lambda: _step(model, size, context), model.device)
        update = optimizer(list(model.parameters()))
        for group in update.param_groups:
            group["lr"] = 0.0  # nothing is to be learnt from noise
        total = passes * batch_size / size + _seconds(update.step, model.device)
        model.zero_grad()
        return total

    few = min(batch_size, _measured_images(model))
    extrapolated = _of_largest_part(model, lambda: _at_full_depth(model, lambda: seconds(few)))
    if not fits or extrapolated > PATIENCE:
        return extrapolated, False
    return _of_largest_part(model, lambda: seconds(batch_size)), True


def _measured_images(model: ImageModel) -> int:
    _, height, width = model.flow.image_shape
    return max(4, PIXELS // (height * width))


def _step(model: ImageModel, size: int, context: Context) -> None:
    images = torch.randint(0, 256, (size, *model.flow.image_shape), dtype=torch.uint8, device=model.device)
    labels = torch.randint(0, model.flow.num_classes or 1, (size,), device=model.device)
    with context():
        loss = model(images, labels, condition=model.condition(images)).mean()
    loss.backward()


def _of_largest_part(model: ImageModel, measure: Callable[[], float]) -> float:
    """Return a figure; of a restorer that of the larger part of its training, of which it is in the second then."""
    if model.flow.encoder is None:
        return measure()
    figures = []
    for trained in (False, True):
        model.flow.encoder.trained.fill_(trained)
        figures.append(measure())
    return max(figures)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the second of two calls."""
    for _ in range(2):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
    return time.perf_counter() - start
