"""Examples per second."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lightning_modules.likelihood import LikelihoodModule

__all__ = ["Throughput"]


class Throughput(Callback):
    """Logs ``images_per_second`` (or vectors), over all ranks, each time the trainer logs.

    Training only, data loading included.
    """

    def __init__(self) -> None:
        self._examples = 0
        self._since = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, after validation."""
        self._restart()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch."""
        assert isinstance(pl_module, LikelihoodModule)
        self._examples += len(batch if isinstance(batch, Tensor) else batch[0]) * trainer.world_size
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % interval == 0 or trainer.is_last_batch:
            rate = self._examples / max(time.perf_counter() - self._since, 1e-9)
            pl_module.log(f"{pl_module.model.things}_per_second", rate, prog_bar=True)
            self._restart()

    def _restart(self) -> None:
        self._examples, self._since = 0, time.perf_counter()
