"""Back to a checkpoint in the middle of training."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_modules.callbacks.ema import EMA
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.runs.recovery import read_whole

# What schedules keep in an optimiser's groups: the last two are OneCycleLR's.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


def roll_back(trainer: pl.Trainer, module: LikelihoodModule, path: Path) -> None:
    """Take weights, averages and the optimiser's state from a checkpoint, and halve the learning rates.

    Steps, epochs, the order of the data and the place in the schedule go on, so that the harmful batches do not come
    again at once.
    """
    checkpoint = read_whole(path)
    module.load_state_dict(checkpoint["state_dict"])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EMA):
            callback.on_load_checkpoint(trainer, module, checkpoint)
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizer_states"], strict=True):
        halved = [{key: rate / 2 for key, rate in group.items() if key in _RATES} for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, values in zip(optimizer.param_groups, halved, strict=True):
            group.update(values)
    for config in trainer.lr_scheduler_configs:
        _halve(config.scheduler)


def _halve(scheduler: Any) -> None:
    for name in ("base_lrs", "max_lrs"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, [rate / 2 for rate in getattr(scheduler, name)])
    if hasattr(scheduler, "eta_min"):
        scheduler.eta_min /= 2
    for inner in getattr(scheduler, "_schedulers", []):  # of SequentialLR and ChainedScheduler
        _halve(inner)
