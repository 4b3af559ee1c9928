"""The length of a run of ``glow fit FOLDER``: the number of steps, by the time of a step on this device."""

import os
import time
import warnings
from tempfile import TemporaryDirectory
from typing import Any

import torch

from glow_app.messages import UsageError, pluralise
from glow_app.seeding import step_generator
from lightning_modules.command_line.arguments import take_option
from lightning_modules.glow_cli import built

# Share of the time for training steps, and until training stops; the rest is for validation, sample grids and saving.
_TRAINING_SHARE, _CLOCK_SHARE = 0.85, 0.95
_NUM_VALIDATIONS = 10


def length_by_epochs(epochs: int) -> tuple[list[str], str]:
    """Return options for a number of epochs, and a description."""
    every = max(1, epochs // _NUM_VALIDATIONS)
    words = [f"--trainer.max_epochs={epochs}", f"--trainer.check_val_every_n_epoch={every}"]
    return words, pluralise(epochs, "epoch")


def length_by_time(minutes: float, max_steps: int | None, arguments: list[str]) -> tuple[list[str], str]:
    """Return options for a run of some minutes and, if given, at most so many steps; and a description."""
    if int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1) > 1:
        raise UsageError("glow fit: --minutes works only with one process; use --epochs")
    seconds, batches_in_epoch, steps_in_epoch = measure_step(arguments)
    words = ["--trainer.max_epochs=-1"]
    option, _ = take_option("--trainer.max_steps", arguments)
    given = int(option) if option is not None and option.isdecimal() else None
    steps = given or minutes * 60 * _TRAINING_SHARE / seconds
    if given is None:
        words.append(f'--trainer.max_time={{"seconds": {max(1, round(minutes * 60 * _CLOCK_SHARE))}}}')
        if max_steps is not None and max_steps < steps:
            steps, minutes = max_steps, max_steps * seconds / 60 / _TRAINING_SHARE
    # Whole intervals, independent of the length of an epoch, so that the last validation follows the last step.
    interval = max(1, round(steps / _NUM_VALIDATIONS))
    steps = given or interval * max(1, round(steps / interval))
    num_batches = -(-interval * batches_in_epoch // steps_in_epoch)
    words += [f"--trainer.max_steps={steps}", f"--trainer.val_check_interval={num_batches}"]
    epochs = -(-steps // steps_in_epoch)
    length = f"{pluralise(steps, 'step')} of {seconds:.2f} s, {pluralise(epochs, 'epoch')}"
    rounded = f"{minutes:.1g}" if minutes < 1 else f"{round(minutes, 1):g}"
    description = length if given else f"{rounded} minute{'' if rounded == '1' else 's'}: {length}"
    return [*words, "--trainer.check_val_every_n_epoch=null"], description


def measure_step(arguments: list[str]) -> tuple[float, int, int]:
    """Return the mean seconds of an optimiser step, and the numbers of batches and steps in an epoch."""
    with (
        warnings.catch_warnings(action="ignore"),  # the run itself warns
        TemporaryDirectory() as scratch,
        built([*arguments, f"--run_dir={scratch}/run"]) as cli,
    ):
        loader, trainer = cli.datamodule.train_dataloader(), cli.trainer
        batches = max(1, len(loader) // trainer.world_size)
        steps = -(-batches // trainer.accumulate_grad_batches)
        return _step_seconds(cli.model, trainer, next(iter(loader))) * batches / steps, batches, steps


def _step_seconds(module: Any, trainer: Any, batch: Any) -> float:
    """Return the seconds of a training step, the second of two."""
    device = trainer.strategy.root_device
    module = trainer.precision_plugin.convert_module(module.to(device))
    batch, generator = module.transfer_batch_to_device(batch, device, 0), step_generator(0, 0, device, "measure")
    module.initialize(batch, generator)
    optimizer = module.optimizer(module.parameters())
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        with trainer.precision_plugin.train_step_context():
            loss = module.loss(batch, generator).mean()
        loss.backward()
        optimizer.step()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds = time.perf_counter() - start
    return seconds
