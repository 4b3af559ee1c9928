"""Memory and time of a training, measured in steps on random images."""

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

# Pixels of a measured batch: enough for activations to outweigh a layer's weights, and to keep the processor busy.
PIXELS = 40 * 32 * 32

# Steps per level that are measured. With fewer, the memory peak is at another moment than in a deep flow.
SHALLOW, DEEP = 4, 8

# Limits of seconds, and of bytes on a CPU, for timing a whole step, so that a laptop stays usable.
PATIENCE, ROOM = 10.0, 2e9

Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Needs:
    """Memory and time of a training.

    Args:
        num_parameters: Number of parameters of the model.
        fixed_bytes: Bytes of parameters, gradients, optimiser state and averages.
        memory: For each mode, the additional bytes of a step, and of each further image.
        step_seconds: Seconds of forward pass, backward pass and optimiser for a batch.
        is_timed: Whether a whole step was timed, rather than extrapolated.
    """

    num_parameters: int
    fixed_bytes: int
    memory: dict[Memory, tuple[int, int]]
    step_seconds: float
    is_timed: bool


def estimate(module: DensityModule, batch_size: int, device: torch.device, context: Context) -> Needs:
    """Measure training steps of a single process on random images; the model is marked as initialised."""
    model = module.to(device if device.type == "cuda" else "cpu").model  # memory is measured on no other devices
    memory = step_memory(model, batch_size, context)
    fixed = 3 * sum(parameter.nbytes for parameter in model.parameters()) + _state_bytes(module.optimizer, model)
    room = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else ROOM
    fits = fixed + memory[model.memory][0] < room
    seconds, is_timed = _step_time(module.to(device).model, module.optimizer, batch_size, context, fits)
    return Needs(sum(parameter.numel() for parameter in model.parameters()), fixed, memory, seconds, is_timed)


def step_seconds(module: DensityModule, batch_size: int, context: Context) -> float:
    """Return the seconds of a step; the model is marked as initialised."""
    _mark_initialized(module.model)
    return _step_time(module.model, module.optimizer, batch_size, context, fits=True)[0]


def step_memory(model: ImageModel, batch_size: int, context: Context) -> dict[Memory, tuple[int, int]]:
    """Return, for each mode, the bytes of a step beyond weights, gradients and optimiser, and of each further image.

    Large batches are extrapolated, not run. The model is marked as initialised, and its gradients are removed.
    """
    chosen, many = (model.memory, model.compiled), _measured_images(model)

    def peak(size: int) -> float:
        def measure() -> int:
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter)  # exists before the step, as with accumulated batches
            return peak_memory(lambda: _step(model, size, context), model.device)

        return _largest_of_parts(model, lambda: _at_full_depth(model, measure))

    _mark_initialized(model)
    peak(1)  # the first step of a process makes further allocations
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


def _mark_initialized(model: ImageModel) -> None:
    for module in model.modules():
        if isinstance(module, DataDependentAffine):
            module.initialized.fill_(True)  # an identity, which has the same cost


def _at_full_depth(model: ImageModel, measure: Callable[[], float]) -> float:
    """Extrapolate a figure that is linear in the number of steps from ``measure`` with only a few steps per level."""
    depths = [len(level.bijections) - 1 for level in model.flow.levels]  # type: ignore[arg-type]

    def work(max_steps: int) -> float:
        # Each level has a quarter of the pixels of the one before it.
        return sum(min(depth, max_steps) / 4**number for number, depth in enumerate(depths))

    with _truncated(model, SHALLOW):
        shallow = measure()
    if max(depths) <= SHALLOW:
        return shallow
    with _truncated(model, DEEP):
        deep = measure()
    return deep + max(0.0, deep - shallow) * (work(max(depths)) - work(DEEP)) / (work(DEEP) - work(SHALLOW))


@contextmanager
def _truncated(model: ImageModel, num_steps: int) -> Iterator[None]:
    """Reduce each level temporarily to its squeeze and its first steps."""
    flow = model.flow
    levels = flow.levels
    flow.levels = nn.ModuleList(Level(*list(level.bijections)[: 1 + num_steps]) for level in levels)  # type: ignore[arg-type]
    model.set_runners(model.memory, model.compiled)
    try:
        yield
    finally:
        flow.levels = levels


def _state_bytes(optimizer: OptimizerFactory, model: ImageModel) -> int:
    """Return the bytes of the optimiser's state, from the state of a single parameter of each shape."""
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
    """Return the seconds of a step, and whether a whole step was timed: it must fit into memory and be short."""

    def seconds(size: int) -> float:
        passes = _seconds(lambda: _step(model, size, context), model.device)
        stepped = optimizer(list(model.parameters()))
        for group in stepped.param_groups:
            group["lr"] = 0.0  # keep the weights
        total = passes * batch_size / size + _seconds(stepped.step, model.device)
        model.zero_grad()
        return total

    few = min(batch_size, _measured_images(model))
    extrapolated = _largest_of_parts(model, lambda: _at_full_depth(model, lambda: seconds(few)))
    if not fits or extrapolated > PATIENCE:
        return extrapolated, False
    return _largest_of_parts(model, lambda: seconds(batch_size)), True


def _measured_images(model: ImageModel) -> int:
    _, height, width = model.flow.image_shape
    return max(4, PIXELS // (height * width))


def _step(model: ImageModel, size: int, context: Context) -> None:
    images = torch.randint(0, 256, (size, *model.flow.image_shape), dtype=torch.uint8, device=model.device)
    labels = torch.randint(0, model.flow.num_classes or 1, (size,), device=model.device)
    with context():
        loss = model(images, labels, condition=model.condition(images)).mean()
    loss.backward()


def _largest_of_parts(model: ImageModel, measure: Callable[[], float]) -> float:
    """Return the result of ``measure``; for a restoration model, the larger of those for both parts of its training.

    Afterwards, the encoder of a restoration model counts as trained.
    """
    if model.flow.encoder is None:
        return measure()
    figures = []
    for trained in (False, True):
        model.flow.encoder.trained.fill_(trained)
        figures.append(measure())
    return max(figures)


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the duration of the second of two calls."""
    for _ in range(2):
        start = time.perf_counter()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
    return time.perf_counter() - start
