"""`glow estimate`: what a training will need, before it starts."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from glow_app.bijections import Memory
from glow_app.peak_memory import peak_memory
from glow_app.usage import UsageError
from lightning_modules.arguments import configs_first, take_option
from lightning_modules.cli import GlowCLI
from lightning_modules.data import ImageDataModule
from lightning_modules.density import DensityModule
from lightning_modules.quiet import quiet
from lightning_modules.run_folder import release_run_dir

__all__ = ["Estimate", "estimate", "main"]

# Two batches whose difference is the memory of the images between them.
SMALL, LARGE = 1, 5

# Bytes up to which the memory of the whole batch is measured; a larger one is told from those two.
ROOM = 1e9

# Seconds up to which a step of the whole batch is timed; a longer one is told from a part of it.
PATIENCE = 20.0


class EstimateCLI(GlowCLI):
    """Parses and builds what ``glow fit`` would run, and leaves it there."""

    def _run_subcommand(self, subcommand: str) -> None:
        return


@dataclass(frozen=True)
class Estimate:
    """What was found.

    Args:
        num_parameters: Of the model.
        fixed_bytes: Of parameters, gradients, optimiser state and averages.
        memory: Mode to bytes of a step beyond those, and how many of them an image takes.
        step_seconds: Of forward and backward pass and optimiser, on one batch.
        is_timed: Whether a whole batch was timed, and not a part of one.
    """

    num_parameters: int
    fixed_bytes: int
    memory: dict[Memory, tuple[float, float]]
    step_seconds: float
    is_timed: bool


def estimate(module: DensityModule, batch_size: int, device: torch.device, context: Callable[[], object]) -> Estimate:
    """Measure a few steps on random images.

    Args:
        module: What will be trained.
        batch_size: Images a step of one process.
        device: Where.
        context: Of the precision, a context manager.
    """
    module.to(device)
    model = module.model
    classes = model.flow.num_classes

    def batch(size: int) -> tuple[Tensor, Tensor]:
        images = torch.randint(0, 256, (size, *model.flow.image_shape), dtype=torch.uint8, device=device)
        return images, torch.randint(0, classes or 1, (size,), device=device)

    def backward(size: int) -> Callable[[], None]:
        images, labels = batch(size)

        def run() -> None:
            with context():  # type: ignore[attr-defined]
                loss = module(images, labels).mean()
            loss.backward()

        return run

    model.initialize(*batch(LARGE))
    optimizer = module.optimizer(module.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # nothing shall be learnt from noise, least of all at full rate
    backward(SMALL)()
    optimizer.step()
    state = [value for group in optimizer.state.values() for value in group.values() if isinstance(value, Tensor)]
    sizes = [tensor.numel() * tensor.element_size() for tensor in module.parameters()]
    chosen, memory = model.flow.memory, {}

    def peak(size: int) -> int:
        optimizer.zero_grad()
        return peak_memory(backward(size), device) - sum(sizes)

    for mode in get_args(Memory):
        model.flow.memory = mode
        small, large = peak(SMALL), peak(LARGE)
        slope = (large - small) / (LARGE - SMALL)
        total = large + (batch_size - LARGE) * slope
        memory[mode] = (peak(batch_size) if total < ROOM else total, slope)
    model.flow.memory = chosen
    part = _seconds(backward(min(LARGE, batch_size)), optimizer, device)
    is_timed = batch_size <= LARGE or part * batch_size / LARGE < PATIENCE
    seconds = part if batch_size <= LARGE else part * batch_size / LARGE
    if is_timed and batch_size > LARGE:
        seconds = _seconds(backward(batch_size), optimizer, device)
    averages = sum(sizes)
    fixed = 2 * sum(sizes) + averages + sum(tensor.numel() * tensor.element_size() for tensor in state)
    return Estimate(sum(p.numel() for p in module.parameters()), fixed, memory, seconds, is_timed)


def main(command: str, arguments: list[str]) -> None:
    """Print parameters, memory and time of ``glow fit`` with the same options.

    Args:
        command: "estimate".
        arguments: The rest of the command line; ``--batch-size N`` is short for ``--data.batch_size N``.

    Raises:
        UsageError: If it is wrong, or the run is one on vectors.
    """
    quiet()
    if take_option("--resume", arguments)[0] is not None:
        raise UsageError(f"glow {command} takes a configuration, and no --resume")
    batch_size, arguments = take_option("--batch-size", arguments)
    if batch_size is not None:
        arguments = [*arguments, f"--data.batch_size={batch_size}"]
    with tempfile.TemporaryDirectory() as scratch:
        cli = EstimateCLI(["fit", *configs_first(arguments), f"--run_dir={scratch}"])
        release_run_dir(Path(scratch))
        module, data, trainer = cli.model, cli.datamodule, cli.trainer
        if not isinstance(module, DensityModule) or not isinstance(data, ImageDataModule):
            raise UsageError(f"glow {command} is for runs on images; a density of vectors needs next to nothing")
        trainer.precision_plugin.convert_module(module)
        size = data.hparams["batch_size"]
        context = trainer.precision_plugin.train_step_context
        found = estimate(module, size, trainer.strategy.root_device, context)
        _print(found, size, f"{trainer.precision} on {trainer.strategy.root_device}", module.model.flow.memory)
        _print_time(found, size, trainer.world_size, trainer.max_epochs, _num_images(data))


def _seconds(run: Callable[[], None], optimizer: torch.optim.Optimizer, device: torch.device) -> float:
    """Return the seconds of a step, after one to warm up."""
    for _ in range(2):
        optimizer.zero_grad()
        start = time.perf_counter()
        run()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _num_images(data: ImageDataModule) -> int | None:
    try:
        return data.num_images("train")
    except (FileNotFoundError, ValueError) as error:
        print(f"images               not there yet: {error}")
        return None


def _print(found: Estimate, batch_size: int, where: str, chosen: Memory) -> None:
    fixed = found.fixed_bytes
    print(f"parameters           {found.num_parameters:,}")
    print(f"weights and such     {_size(fixed)}: parameters, gradients, optimiser state, averages")
    print(f"memory of a process  batch of {batch_size}, {where}")
    for mode, (total, slope) in found.memory.items():
        mark = "  <- model.memory" if mode == chosen else ""
        print(f"  {mode:<18} {_size(fixed + total):>9}, {_size(slope):>9} of them for each image{mark}")


def _print_time(
    found: Estimate, batch_size: int, num_processes: int, epochs: int | None, num_images: int | None
) -> None:
    about = "" if found.is_timed else " (from a part of it)"
    print(f"a step               {found.step_seconds:.2f} s{about}, {batch_size / found.step_seconds:,.1f} images/s")
    if num_images is None:
        return
    steps = num_images // (batch_size * num_processes)
    an_epoch = timedelta(seconds=round(steps * found.step_seconds))
    processes = f" in {num_processes} processes" if num_processes > 1 else ""
    print(f"an epoch             {steps:,} steps{processes}, {an_epoch} without validation and saving")
    if epochs is not None and epochs > 0:
        print(f"the run              {epochs:,} epochs, {an_epoch * epochs}")


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}" if unit != "B" else f"{num_bytes:.0f} B"
        num_bytes /= 1000
    return f"{num_bytes:,.2f} GB"
