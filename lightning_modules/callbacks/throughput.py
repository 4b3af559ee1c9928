"""Throughput in examples per second, and the share of time that training waits for its loader."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.loader import TrainLoader


class Throughput(Callback):
    """Logs ``images_per_second`` (or points) over all ranks, and ``loading``, each time the trainer logs in training.

    ``loading`` is the share of time in which the first rank waits for its loader. Lightning's ``ThroughputMonitor``
    synchronises a GPU in every step.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also after a validation."""
        self._examples, self._since, self._waited = 0, time.perf_counter(), _seconds_waited(trainer)

    on_validation_end = on_train_start

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; log at the end of a log interval."""
        assert isinstance(pl_module, LikelihoodModule)
        self._examples += len(batch if isinstance(batch, Tensor) else batch[0]) * trainer.world_size
        if (batch_idx + 1) % trainer.log_every_n_steps and not trainer.is_last_batch:  # type: ignore[attr-defined]
            return
        seconds = max(time.perf_counter() - self._since, 1e-9)
        pl_module.log(f"{pl_module.model.examples}_per_second", self._examples / seconds)
        pl_module.log("loading", min(1.0, (_seconds_waited(trainer) - self._waited) / seconds))
        self.on_train_start(trainer, pl_module)


def _seconds_waited(trainer: pl.Trainer) -> float:
    loader = trainer.train_dataloader
    return loader.waited if isinstance(loader, TrainLoader) else 0.0
