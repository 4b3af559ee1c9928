"""The length of a run by time: the number of steps, by the time of a step on this device."""

import time
import warnings
from collections.abc import Collection
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from glow_app.messages import pluralise
from glow_app.seeding import step_generator

# Share of the time for training steps, and until training stops; the rest is for validation, sample grids and saving.
_TRAINING_SHARE, _CLOCK_SHARE = 0.85, 0.95
NUM_VALIDATIONS = 10


@dataclass(frozen=True)
class Length:
    """The length of a run that time decides.

    Attributes:
        minutes: Time of the run.
        most: Maximum number of steps, if there is one.
        given: Names of options, such as ``trainer.max_time``, that time does not decide.
    """

    minutes: float
    most: int | None
    given: Collection[str]

    def options(self, max_steps: int, measured: tuple[float, int, int]) -> tuple[dict[str, Any], str]:
        """Return options of the trainer, and a description.

        Args:
            max_steps: The number of steps, if the time does not decide it, otherwise -1.
            measured: Result of :func:`measure_step`.
        """
        seconds, batches_in_epoch, steps_in_epoch = measured
        minutes, is_timed = self.minutes, max_steps == -1
        options: dict[str, Any] = {"max_epochs": -1, "check_val_every_n_epoch": None}
        steps = minutes * 60 * _TRAINING_SHARE / seconds if is_timed else max_steps
        if is_timed:
            options["max_time"] = {"seconds": max(1, round(minutes * 60 * _CLOCK_SHARE))}
            if self.most is not None and self.most < steps:
                steps, minutes = self.most, self.most * seconds / 60 / _TRAINING_SHARE
        # Whole intervals, independent of the length of an epoch, so that the last validation follows the last step.
        interval = max(1, round(steps / NUM_VALIDATIONS))
        steps = interval * max(1, round(steps / interval)) if is_timed else max_steps
        options |= {"max_steps": steps, "val_check_interval": -(-interval * batches_in_epoch // steps_in_epoch)}
        options = {name: value for name, value in options.items() if f"trainer.{name}" not in self.given}
        length = f"{pluralise(steps, 'step')} of {seconds:.2f} s, {pluralise(-(-steps // steps_in_epoch), 'epoch')}"
        rounded = f"{minutes:.1g}" if minutes < 1 else f"{round(minutes, 1):g}"
        return options, f"{rounded} minute{'' if rounded == '1' else 's'}: {length}" if is_timed else length


def measure_step(module: Any, data: Any, trainer: Any) -> tuple[float, int, int]:
    """Return the mean seconds of an optimiser step, and the numbers of batches and steps in an epoch.

    The parts of the run are unchanged: a copy of the module is trained, and random numbers are drawn again.
    """
    with torch.random.fork_rng():
        loader = data.train_dataloader()
        batches = max(1, len(loader) // trainer.world_size)
        steps = -(-batches // trainer.accumulate_grad_batches)
        batch = next(iter(loader))
        with warnings.catch_warnings(action="ignore"):  # the run itself warns
            return _step_seconds(deepcopy(module), trainer, batch) * batches / steps, batches, steps


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
