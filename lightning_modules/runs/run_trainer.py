"""The trainer of a run, which counts epochs correctly after every resume; and which trainers suit a flow."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_modules.runs.state import RunState

PRECISIONS = {"32-true": "32-bit precision", "bf16-mixed": "conditioners in bfloat16", "64-true": "64-bit precision"}


class RunTrainer(pl.Trainer):
    """A trainer that stops at ``fit_loop.max_steps``, but has no :attr:`max_steps`.

    If that attribute is not -1, Lightning counts the last epoch twice when a run resumes from its end. Otherwise it is
    used only for the number of steps of the whole run, which is corrected here.
    """

    def limit(self, length: Mapping[str, Any]) -> None:
        """Change the arguments that set the length of the run, such as ``max_steps`` and ``max_time``."""
        for name, value in length.items():
            if name == "max_time":
                RunState.of(self).timer = timer = Timer(value, interval="step")
                self.callbacks.insert(0, timer)  # type: ignore[attr-defined]
            elif name in ("max_epochs", "max_steps"):
                setattr(self.fit_loop if name == "max_epochs" else self.fit_loop.epoch_loop, name, value)
            else:
                setattr(self, name, value)

    @property
    def max_steps(self) -> int:
        """Always -1."""
        return -1

    @property
    def estimated_stepping_batches(self) -> int | float:
        """Number of optimiser steps of the whole run; infinite if neither epochs nor steps limit it."""
        steps, limit = super().estimated_stepping_batches, self.fit_loop.max_steps
        return steps if limit == -1 else min(steps, limit)


def require_exact_trainer(trainer: pl.Trainer) -> None:
    """Raise ValueError if a trainer does not suit a flow, as with other precisions and sharded parameters."""
    if isinstance(strategy := trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
        raise ValueError(
            f"trainer.strategy is {type(strategy).__name__}, which gathers sharded weights only around a module's "
            "forward, not around its inverse or its initialisation; use --config trainer/ddp"
        )
    if trainer.precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision is {trainer.precision}; expected one of {', '.join(PRECISIONS)}: a flow whose states "
            "are rounded to 16 bits does not invert"
        )
