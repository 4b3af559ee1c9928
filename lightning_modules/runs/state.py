"""What the parts of a run tell each other, so that none has to look for another."""

from dataclasses import dataclass
from typing import Any, Self

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer


@dataclass
class RunState:
    """The state of a run that several of its parts read or change.

    Attributes:
        at_start: The figure that chooses the best checkpoint before the first step, if the run begins from a model.
        in_trouble: Whether there was no good step since the last bad one, so that the weights may be bad.
        is_out_of_patience: Whether early stopping has ended the run.
        timer: The time of the run, if it is limited.
        best: The callback of the best checkpoint.
        average: The callback of the averaged weights, if there is one.
    """

    at_start: float | None = None
    in_trouble: bool = False
    is_out_of_patience: bool = False
    timer: Timer | None = None
    best: Any = None
    average: Any = None

    @classmethod
    def of(cls, trainer: pl.Trainer) -> Self:
        """Return the state of a trainer's run."""
        return vars(trainer).setdefault("run_state", cls())

    def seconds_left(self) -> float | None:
        """Return the time left, at least 0; None if the time is not limited."""
        left = None if self.timer is None else self.timer.time_remaining()
        return None if left is None else max(0.0, left)

    def reached_limit(self, trainer: pl.Trainer) -> str:
        """Return the option that ended the run: its patience, time, steps or epochs."""
        if self.is_out_of_patience:
            return "early_stopping.patience"
        if self.seconds_left() == 0:
            return "trainer.max_time"
        limit = trainer.fit_loop.max_steps
        return "trainer.max_steps" if 0 <= limit <= trainer.global_step else "trainer.max_epochs"
