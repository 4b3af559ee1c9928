"""`glow estimate`: what a training will need, before it starts."""

import tempfile
from collections import Counter
from collections.abc import Callable, Container, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from glow_app.bijections import Memory
from glow_app.data.faces.source import USUAL_COUNT
from glow_app.data.folder import split_layout
from glow_app.data.listing import list_images
from glow_app.data.splits import split_indices
from glow_app.model import ImageModel
from glow_app.usage import UsageError
from lightning_modules.arguments import configs_first, take_option
from lightning_modules.cli import GlowCLI
from lightning_modules.data import ImageDataModule
from lightning_modules.density import DensityModule
from lightning_modules.help import HELP
from lightning_modules.likelihood import check_precision
from lightning_modules.loading import loading_speed
from lightning_modules.quiet import quiet
from lightning_modules.random_step import RandomStep, skip_initialization
from lightning_modules.run_folder import release_run_dir
from lightning_modules.step_memory import step_memory
from lightning_modules.step_time import step_time

__all__ = ["Estimate", "estimate", "main"]

# Bytes up to which a step is run as a whole where the memory is not the step's own: little enough to leave a laptop
# usable.
ROOM = 2e9


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
        memory: Mode to bytes of a step beyond those, and the most of them that grow with the batch, for each image.
        step_seconds: Of forward and backward pass and optimiser, on one batch.
        is_timed: Whether a whole step was timed, and not a part of one.
    """

    num_parameters: int
    fixed_bytes: int
    memory: dict[Memory, tuple[int, int]]
    step_seconds: float
    is_timed: bool


def estimate(
    module: DensityModule, batch_size: int, device: torch.device, context: Callable[[], AbstractContextManager[object]]
) -> Estimate:
    """Count the memory of a training step, and time one on random images, or a part of one.

    Args:
        module: What will be trained; its actnorms count as initialised afterwards.
        batch_size: Images a step of one process.
        device: Where.
        context: Of the precision.
    """
    module.to(device)
    model, step = module.model, RandomStep(device, context)
    skip_initialization(model)
    memory = step_memory(model, step, batch_size)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    fixed = 3 * weights + _state_bytes(module.optimizer, model)
    room = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else ROOM
    fits = fixed + memory[model.flow.memory][0] < room
    seconds, is_timed = step_time(model, module.optimizer, step, batch_size, fits)
    return Estimate(sum(p.numel() for p in model.parameters()), fixed, memory, seconds, is_timed)


def _state_bytes(optimizer: Callable[[Iterable[Parameter]], Optimizer], model: ImageModel) -> int:
    """Return the bytes that the optimiser keeps, which may depend on a parameter's shape: one of each is asked."""
    counts = Counter(parameter.shape for parameter in model.parameters())
    asked = {shape: Parameter(torch.zeros(shape, dtype=model.dtype)) for shape in counts}
    made = optimizer(list(asked.values()))
    for parameter in asked.values():
        parameter.grad = torch.zeros_like(parameter)
    made.step()
    return sum(
        counts[shape] * sum(value.nbytes for value in made.state[parameter].values() if isinstance(value, Tensor))
        for shape, parameter in asked.items()
    )


def main(command: str, arguments: list[str]) -> None:
    """Print parameters, memory and time of ``glow fit`` with the same options.

    Args:
        command: "estimate".
        arguments: The rest of the command line; ``--batch-size N`` is short for ``--data.batch_size N``.

    Raises:
        UsageError: If it is wrong, or the run is one on vectors.
    """
    quiet()
    if {"-h", "--help"} & set(arguments):
        print(HELP[command])
        return
    if take_option("--resume", arguments)[0] is not None:
        raise UsageError(f"glow {command} takes a configuration, and no --resume")
    batch_size, arguments = take_option("--batch-size", arguments)
    if batch_size is not None:
        arguments = [*arguments, f"--data.batch_size={batch_size}"]
    with tempfile.TemporaryDirectory() as scratch:
        cli = EstimateCLI(["fit", *configs_first(arguments), f"--run_dir={scratch}"], command=command)
        release_run_dir(Path(scratch))
        module, data, trainer = cli.model, cli.datamodule, cli.trainer
        if not isinstance(module, DensityModule) or not isinstance(data, ImageDataModule):
            raise UsageError(f"glow {command} is for runs on images; a density of vectors needs next to nothing")
        check_precision(str(trainer.precision))
        trainer.precision_plugin.convert_module(module)
        size = data.hparams["batch_size"]
        if size < 1:
            raise UsageError(f"data.batch_size is {size}; expected at least 1")
        num_images = _num_images(data)
        if num_images is not None and size * trainer.world_size > num_images:
            raise ValueError(f"data.batch_size is {size}, but there are {num_images} training images")
        found = estimate(module, size, trainer.strategy.root_device, trainer.precision_plugin.train_step_context)
        _print(found, size, f"{trainer.precision} on {trainer.strategy.root_device}", module.model.flow.memory)
        _print_time(found, size, trainer, num_images)
        if num_images is not None and data.hparams["source"] not in ("folder", "faces"):
            _print_loading(data, size / found.step_seconds)


def _num_images(data: ImageDataModule) -> int | None:
    try:
        if data.hparams["source"] == "folder" and data.hparams["root"] is not None:
            return _listed(data)
        if data.hparams["source"] == "faces":
            return _to_train(data, data.hparams["count"] or USUAL_COUNT)
        return data.num_images("train")
    except (FileNotFoundError, ValueError) as error:
        print(f"images               not there yet: {error}")
        return None


def _listed(data: ImageDataModule) -> int:
    """Return about how many images of a folder are for training, without decoding them."""
    listing = list_images(Path(data.hparams["root"]).expanduser())
    parts = split_layout(listing)
    return _to_train(data, len(parts.get("train", listing).files), parts)


def _to_train(data: ImageDataModule, count: int, official: Container[str] = ()) -> int:
    """Return how many of so many images are for training, without loading them."""
    cut = {name: data.hparams[name] for name in ("seed", "validation_fraction", "test_fraction")}
    rows = split_indices(count, "train", **cut, official=official)
    return len(rows[: data.hparams["limit"]])


def _print(found: Estimate, batch_size: int, where: str, chosen: Memory) -> None:
    fixed = found.fixed_bytes
    print(f"parameters           {found.num_parameters:,}")
    print(f"weights and such     {_size(fixed)}: parameters, gradients, optimiser state, averages")
    print(f"memory of a process  batch of {batch_size}, {where}")
    for mode, (total, slope) in found.memory.items():
        mark = "  <- model.memory" if mode == chosen else ""
        print(f"  {mode:<18} {_size(fixed + total):>9}, {_size(slope):>9} an image{mark}")


def _print_time(found: Estimate, batch_size: int, trainer: pl.Trainer, num_images: int | None) -> None:
    about = "" if found.is_timed else " (from a part of it)"
    rate = batch_size / found.step_seconds
    speed = f"{rate:,.1f} images/s" if rate >= 1 else f"{1 / rate:,.1f} s an image"
    print(f"a step               {found.step_seconds:.2f} s{about}, {speed}")
    if num_images is None:
        return
    together = trainer.accumulate_grad_batches
    batches = num_images // (batch_size * trainer.world_size)
    an_epoch = timedelta(seconds=round(batches * found.step_seconds))
    processes = f" in {trainer.world_size} processes" if trainer.world_size > 1 else ""
    accumulated = f" of {together} batches" if together > 1 else ""
    steps = -(-batches // together)
    print(f"an epoch             {steps:,} steps{accumulated}{processes}, {an_epoch} without validation and saving")
    epochs, most = trainer.max_epochs, trainer.max_steps
    if most > 0 and (epochs is None or epochs < 0 or most < epochs * steps):
        print(f"the run              {most:,} steps, {timedelta(seconds=round(most * together * found.step_seconds))}")
    elif epochs is not None and epochs > 0:
        print(f"the run              {epochs:,} epochs, {an_epoch * epochs}")


def _print_loading(data: ImageDataModule, training: float) -> None:
    found = loading_speed(data.train_dataloader())
    if found.images_per_second == float("inf"):
        return  # one batch an epoch: nothing to compare
    workers = data.hparams["num_workers"]
    first = f"the first batch after {found.first_batch:.1f} s" if found.first_batch >= 0.1 else "at once"
    print(f"loading              {found.images_per_second:,.0f} images/s with data.num_workers {workers}, {first}")
    if found.images_per_second < training:
        print("                     slower than the training: raise data.num_workers, or see glow data pack --help")


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}" if unit != "B" else f"{num_bytes:.0f} B"
        num_bytes /= 1000
    return f"{num_bytes:,.2f} GB"
