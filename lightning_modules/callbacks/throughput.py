"""Throughput in examples per second, with warnings about bottlenecks."""

import time
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from glow_app.data import TrainLoader
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.runs.processor import Crowding, has_bfloat16

# Warn if training waits for its loader for more than _SHARE of the time in _TIMES consecutive log intervals.
_SHARE, _TIMES = 0.3, 3
# Warn if a thread waits for a processor for more than _WAIT of the time in _TIMES or more consecutive log intervals of
# together at least _SECONDS: the other threads wait for it after every operation.
_WAIT, _SECONDS = 0.25, 10.0


class Throughput(Callback):
    """Logs ``images_per_second`` (or points) over all ranks, and ``loading``, each time the trainer logs in training.

    ``loading`` is the share of time in which the first rank waits for its loader. Warns once if the loader is the
    bottleneck, if a CPU's threads wait for processors, or if a CPU has no instructions for the precision.
    """

    def __init__(self) -> None:
        self._examples = 0
        self._since = 0.0
        self._waited = 0.0
        self._num_slow = 0
        self._warned = False
        self._crowding: Crowding | None = None  # None on a GPU, and after the warning
        self._crowded: list[float] = []  # lengths of the latest log intervals in which a thread waited too long

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, since a run that resumes within an epoch has no ``on_train_epoch_start``; check the CPU."""
        is_narrow = trainer.precision == "bf16-mixed" and pl_module.device.type == "cpu"
        if is_narrow and has_bfloat16() is False and trainer.is_global_zero:
            warnings.warn(
                "this processor has no bfloat16 instructions: bf16-mixed takes up to 3 times as long as float32; stop, "
                "and begin again with --trainer.precision 32-true",
                stacklevel=2,
            )
        if pl_module.device.type == "cpu" and torch.get_num_threads() > 1 and trainer.is_global_zero:
            self._crowding = Crowding()
        self._restart(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock after a validation."""
        self._restart(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock after a validation within an epoch."""
        self._restart(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; log and warn at the end of a log interval."""
        assert isinstance(pl_module, LikelihoodModule)
        self._examples += len(batch if isinstance(batch, Tensor) else batch[0]) * trainer.world_size
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % interval == 0 or trainer.is_last_batch:
            seconds = max(time.perf_counter() - self._since, 1e-9)
            rate = self._examples / seconds
            waited = self._seconds_waited(trainer) - self._waited
            loading = min(1.0, waited / seconds)
            pl_module.log(f"{pl_module.model.things}_per_second", rate, prog_bar=True)
            pl_module.log("loading", loading)
            self._num_slow = self._num_slow + 1 if loading > _SHARE else 0
            if self._num_slow == _TIMES and not self._warned and trainer.is_global_zero:
                self._warned = True
                self._warn_of_loader(trainer, pl_module, loading, rate)
            if self._crowding is not None:
                self._warn_of_crowding(self._crowding.waits(), seconds)
            self._restart(trainer)

    def _warn_of_crowding(self, waits: list[float], seconds: float) -> None:
        """Warn once if threads have waited for processors for long enough."""
        self._crowded = [*self._crowded, seconds] if max(waits, default=0.0) > _WAIT else []
        if len(self._crowded) >= _TIMES and sum(self._crowded) >= _SECONDS:
            self._crowding, threads = None, torch.get_num_threads()
            warnings.warn(
                f"one of {threads} threads waits for a processor {max(waits):.0%} of the time, and the others for it: "
                "something else is running, and fewer threads can be faster; stop, and go on with "
                f"OMP_NUM_THREADS={max(1, int(threads - sum(waits)))}",
                stacklevel=2,
            )

    def _warn_of_loader(self, trainer: pl.Trainer, module: LikelihoodModule, loading: float, rate: float) -> None:
        loader = trainer.train_dataloader
        workers = loader.num_workers if isinstance(loader, TrainLoader) else 0
        warnings.warn(
            f"the loader is the bottleneck: training waits for it {loading:.0%} of the time, at {rate:,.0f} "
            f"{module.model.things}/s; raise data.num_workers ({workers} now)",
            stacklevel=2,
        )

    def _restart(self, trainer: pl.Trainer) -> None:
        self._examples, self._since, self._waited = 0, time.perf_counter(), self._seconds_waited(trainer)
        if self._crowding is not None:
            self._crowding.restart()

    @staticmethod
    def _seconds_waited(trainer: pl.Trainer) -> float:
        loader = trainer.train_dataloader
        return loader.waited if isinstance(loader, TrainLoader) else 0.0
