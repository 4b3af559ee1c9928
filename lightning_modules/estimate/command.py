"""The command ``glow estimate``."""

import tempfile
import time
from collections.abc import Container, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from glow_app.data import Split, TrainLoader
from glow_app.data.faces.rendered import USUAL_COUNT
from glow_app.data.listing import FolderListing, list_images, split_layout
from glow_app.data.request import Cut
from glow_app.messages import UsageError, pluralise
from glow_app.running import Memory
from lightning_modules.cli import GlowCLI
from lightning_modules.command_line.arguments import take_option
from lightning_modules.command_line.quiet import quiet
from lightning_modules.command_line.resumption import start_of
from lightning_modules.data import ImageDataModule
from lightning_modules.density import DensityModule
from lightning_modules.estimate.needs import Needs, estimate, step_seconds
from lightning_modules.runs.run_folder import release_run_dir
from lightning_modules.training_module import check_precision

# Seconds after which the measurement of loading ends.
ENOUGH = 3.0


class EstimateCLI(GlowCLI):
    """Parses the options of ``glow fit`` and builds its parts, without running it."""

    def _run_subcommand(self, subcommand: str) -> None:
        return


def main(command: str, arguments: list[str]) -> None:
    """Print parameters, memory and time of ``glow fit`` with the same options."""
    if take_option("--resume", arguments)[0] is not None:
        raise UsageError(f"glow {command} takes a configuration, and no --resume")
    batch_size, arguments = take_option("--batch-size", arguments)
    if batch_size is not None:
        arguments = [*arguments, f"--data.batch_size={batch_size}"]
    module, data, trainer = _built(arguments, command)
    size, num_images = data.hparams["batch_size"], _num_images(data)
    _check_batch(size, num_images, trainer)
    device = trainer.strategy.root_device
    needs = estimate(module, size, device, trainer.precision_plugin.train_step_context)
    _print_memory(needs, size, f"{trainer.precision} on {device}", module.model.memory)
    _print_time(needs, size, trainer, num_images)
    if num_images is not None and data.hparams["source"] not in ("folder", "faces"):
        _print_loading(data, size / needs.step_seconds)


def measured_step(arguments: list[str], parts: Mapping[Split, FolderListing]) -> tuple[float, int, int]:
    """Return the mean seconds of an optimiser step of ``glow fit``, and the numbers of batches and steps in an epoch.

    ``parts`` are the pictures of the options' folder, see :func:`~glow_app.data.listing.split_layout`.
    """
    module, data, trainer = _built(arguments, "fit")
    size, num_images = data.hparams["batch_size"], _num_training_images(data, len(parts["train"].files), parts)
    _check_batch(size, num_images, trainer)
    module.to(trainer.strategy.root_device)
    seconds = step_seconds(module, size, trainer.precision_plugin.train_step_context)
    batches, steps = _epoch(size, num_images, trainer)
    return seconds * batches / steps, batches, steps


def _built(arguments: list[str], command: str) -> tuple[DensityModule, ImageDataModule, pl.Trainer]:
    """Return the module, in the run's precision, the data and the trainer of ``glow fit`` with these options."""
    quiet()
    with tempfile.TemporaryDirectory() as scratch:
        start, run_dir = start_of("fit", arguments, Path(scratch)), Path(scratch) / "run"
        start = start._replace(arguments=[*start.arguments, f"--run_dir={run_dir}"])
        cli = EstimateCLI("fit", start, command)
        release_run_dir(run_dir)
    module, data, trainer = cli.model, cli.datamodule, cli.trainer
    if not isinstance(module, DensityModule) or not isinstance(data, ImageDataModule):
        raise UsageError(f"glow {command} is for runs on images; a density of vectors needs next to nothing")
    check_precision(str(trainer.precision))
    trainer.precision_plugin.convert_module(module)
    return module, data, trainer


def _check_batch(size: int, num_images: int | None, trainer: pl.Trainer) -> None:
    if size < 1:
        raise UsageError(f"data.batch_size is {size}; expected at least 1")
    if num_images is not None and size * trainer.world_size > num_images:
        raise ValueError(f"data.batch_size is {size}, but there are {num_images} training images")


def _epoch(size: int, num_images: int, trainer: pl.Trainer) -> tuple[int, int]:
    """Return an epoch's batches per process and optimiser steps, the last of which may accumulate fewer batches."""
    batches = num_images // (size * trainer.world_size)
    return batches, -(-batches // trainer.accumulate_grad_batches)


def _num_images(data: ImageDataModule) -> int | None:
    """Return the approximate number of training images, without decoding or rendering any; None if there is no data."""
    source, root = data.hparams["source"], data.hparams["root"]
    try:
        if source == "folder" and root is not None:
            parts = split_layout(list_images(Path(root).expanduser()))
            return _num_training_images(data, len(parts["train"].files), parts)
        if source == "faces":
            return _num_training_images(data, data.hparams["count"] or USUAL_COUNT)
        return len(data.examples("train"))
    except (FileNotFoundError, ValueError) as error:
        print(f"images               not there yet: {error}")
        return None


def _num_training_images(data: ImageDataModule, count: int, official: Container[str] = ()) -> int:
    cut = Cut(**{name: data.hparams[name] for name in ("seed", "validation_fraction", "test_fraction")})
    return len(cut.rows(count, "train", official)[: data.hparams["limit"]])


def _print_memory(needs: Needs, batch_size: int, where: str, chosen: Memory) -> None:
    print(f"parameters           {needs.num_parameters:,}")
    print(f"weights and such     {bytes_text(needs.fixed_bytes)}: parameters, gradients, optimiser state, averages")
    print(f"memory of a process  batch of {batch_size}, {where}")
    for mode, (total, slope) in needs.memory.items():
        mark = "  <- model.memory" if mode == chosen else ""
        print(f"  {mode:<18} {bytes_text(needs.fixed_bytes + total):>9}, {bytes_text(slope):>9} an image{mark}")


def _print_time(needs: Needs, batch_size: int, trainer: pl.Trainer, num_images: int | None) -> None:
    seconds, epochs, max_steps = needs.step_seconds, trainer.max_epochs, trainer.max_steps
    rate = batch_size / seconds
    speed = f"{rate:,.1f} images/s" if rate >= 1 else f"{1 / rate:,.1f} s an image"
    print(f"a step               {seconds:.2f} s{'' if needs.is_timed else ' (from a part of it)'}, {speed}")
    if num_images is None:
        return
    num_accumulated = trainer.accumulate_grad_batches
    batches, steps = _epoch(batch_size, num_images, trainer)
    processes = f" in {trainer.world_size} processes" if trainer.world_size > 1 else ""
    accumulated = f" of {num_accumulated} batches" if num_accumulated > 1 else ""
    epoch = timedelta(seconds=round(batches * seconds))
    length = f"{pluralise(steps, 'step')}{accumulated}{processes}"
    print(f"an epoch             {length}, {epoch} without validation and saving")
    if max_steps > 0 and (epochs is None or epochs < 0 or max_steps < epochs * steps):
        duration = timedelta(seconds=round(max_steps * num_accumulated * seconds))
        print(f"the run              {pluralise(max_steps, 'step')}, {duration}")
    elif epochs is not None and epochs > 0:
        print(f"the run              {pluralise(epochs, 'epoch')}, {epoch * epochs}")


def _print_loading(data: ImageDataModule, training: float) -> None:
    first_batch, rate = loading_speed(data.train_dataloader())
    if rate == float("inf"):
        return  # a single batch per epoch, from which no rate can be measured
    first = f"the first batch after {first_batch:.1f} s" if first_batch >= 0.1 else "at once"
    speed = f"{rate:,.0f} images/s with data.num_workers {data.hparams['num_workers']}"
    print(f"loading              {speed}, {first}")
    if rate < training:
        print("                     slower than the training: raise data.num_workers, or see glow data pack --help")


def loading_speed(loader: TrainLoader[Any]) -> tuple[float, float]:
    """Return the seconds until the first batch, and images per second after it; infinite without a second batch.

    Measures the loader of a single process without training, for a few seconds or until the end of the epoch.
    """
    begin = time.perf_counter()
    batches = iter(loader)
    next(batches)
    start = now = time.perf_counter()
    count = 0
    for _ in batches:
        now, count = time.perf_counter(), count + 1
        if now - start > ENOUGH:
            break
    rate = count * (loader.batch_size or 1) / max(now - start, 1e-9) if count else float("inf")
    return start - begin, rate


def bytes_text(num_bytes: float) -> str:
    """Return a number of bytes as text with three digits."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.2f} GB"
