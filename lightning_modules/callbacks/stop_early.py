"""Early stopping."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping


class StopEarly(EarlyStopping):
    """Stops training after ``patience`` validations in a row without a better figure; never if None.

    A resumed run continues the count, and a run that had stopped remains stopped unless the patience is raised.
    """

    def __init__(self, patience: int | None = None) -> None:
        super().__init__("", patience=patience or math.inf, check_finite=False, check_on_train_epoch_end=False)  # type: ignore[arg-type]

    @property
    def is_exhausted(self) -> bool:
        """Whether the patience has run out."""
        return self.wait_count >= self.patience

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the figure that chooses the best checkpoint."""
        self.monitor = str(pl_module.monitor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count, but not the patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a run that had stopped before."""
        trainer.should_stop |= self.is_exhausted
