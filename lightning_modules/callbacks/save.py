"""Checkpoints of a run: the best one, and the last one, saved at intervals and when a signal stops the run."""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from lightning_modules.runs.checkpoints import LAST, NEXT, replace_last
from lightning_modules.runs.state import RunState
from lightning_modules.runs.stopping import RunStopped, StopSignals

_SECONDS = 30.0  # minimum interval between saves at ends of epochs


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt`` in the run's folder, and validates the last step.

    The model from which a run begins is the first candidate, as step 0.
    Lightning forgets the best checkpoint when a folder was moved, and the next validation replaces it, however bad. Nor
    does Lightning validate a last step between two validations, although that step is often the best, since the
    learning rate has decayed. Here the last step is validated, whether epochs, steps or time end the run.

    Args:
        monitor: Name of the metric; smaller is better.
    """

    def __init__(self, run_dir: str, monitor: str) -> None:
        super().__init__(run_dir, "best", monitor=monitor, enable_version_counter=False)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Let others find the best checkpoint."""
        super().setup(trainer, pl_module, stage)
        RunState.of(trainer).best = self

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best checkpoint if it is in this folder; others are ignored, as an outdated best is deleted."""
        assert self.dirpath is not None
        path = Path(self.dirpath, Path(str(state_dict["best_model_path"])).name)
        if path.is_file():
            self.best_model_path = self.kth_best_model_path = str(path)
            self.best_model_score = self.kth_value = torch.as_tensor(state_dict["best_model_score"])
            self.best_k_models = {str(path): self.kth_value}

    def forget(self) -> None:
        """Delete the best checkpoint, so that the next validation becomes the best."""
        if self.best_model_path:
            Path(self.best_model_path).unlink(missing_ok=True)
        self.best_model_path = self.kth_best_model_path = ""
        self.best_model_score, self.kth_value, self.best_k_models = None, torch.tensor(math.inf), {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if the figure is the best, also that before the first step."""
        super().on_validation_end(trainer, pl_module)
        if trainer.sanity_checking:
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Request a stop at the last step, because Lightning then validates it."""
        super().on_train_batch_end(trainer, *arguments)
        trainer.should_stop = _is_last_step(trainer)
        if trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1


class SaveProgress(Checkpoint):
    """Writes ``last.ckpt`` to the run's folder, and keeps the one before it as ``previous.ckpt``.

    It saves after the first and the last epoch; after other epochs if the last save was at least 30 seconds ago, since
    with few images an epoch may be a single step; and within epochs at the given intervals. On SIGTERM, SIGINT, SIGHUP,
    or SIGUSR1 in a SLURM job, all ranks finish the current step or validation, save and stop. Nothing is saved between
    a step that the guard has skipped and the next good step: weights may be bad although they are finite.

    Args:
        every_n_steps: Interval in optimiser steps; none if None.
        every_minutes: Interval in minutes; none if None.
    Raises:
        RunStopped: After a signal, when the checkpoint is saved.
        RuntimeError: If processes resume from different steps, for example on machines that do not share the folder.
    """

    def __init__(self, every_n_steps: int | None = None, every_minutes: float | None = 10.0) -> None:
        self.every_n_steps = every_n_steps or math.inf
        self.every_seconds = 60 * every_minutes if every_minutes else math.inf
        self._signals = StopSignals()
        self._stopped_by = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the intervals, and install signal handlers, after Lightning has installed its own."""
        last, negative_first = _largest(trainer, trainer.global_step, -trainer.global_step)
        if last != -negative_first:
            raise RuntimeError(
                f"the processes would resume from different steps, {-negative_first} and {last}: "
                f"{trainer.default_root_dir} must be a folder that all machines share"
            )
        self._signals.install()
        self._step_before = self._saved_step = trainer.global_step
        self._saved_time, self._saved_epoch = time.monotonic(), False

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop if a signal arrived during the previous step, which is in the log by now."""
        if self._stopped_by:
            raise RunStopped(self._stopped_by, _folder(trainer) / LAST)
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a save is due or a signal arrived.

        Not while gradients are accumulated, since a checkpoint does not store them, nor just before a validation, which
        a resumed run would skip.
        """
        if trainer.global_step == self._step_before or _validates_now(trainer, batch_idx):
            return
        self._stopped_by = self._save_if(trainer, False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save if a save is due, and stop if a signal arrived."""
        is_late = not self._saved_epoch or time.monotonic() - self._saved_time >= _SECONDS
        number = self._save_if(trainer, is_late or _is_last_step(trainer))
        self._saved_epoch = True
        if number:
            raise RunStopped(number, _folder(trainer) / LAST)

    def on_train_end(self, *_: Any) -> None:
        """Restore the signal handlers, before Lightning restores its own."""
        self._signals.restore()

    on_exception = on_train_end  # type: ignore[assignment] # takes its arguments too

    def _save_if(self, trainer: pl.Trainer, is_due: bool) -> int:
        """Save if it is due or a signal arrived on any rank, since clocks differ; return the signal's number or 0."""
        is_due |= trainer.global_step - self._saved_step >= self.every_n_steps
        is_due |= time.monotonic() - self._saved_time >= self.every_seconds
        number, due = _largest(trainer, self._signals.received, is_due)
        if (number or due) and not RunState.of(trainer).in_trouble:
            trainer.save_checkpoint(_folder(trainer) / NEXT)
            self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
            if trainer.is_global_zero:
                replace_last(_folder(trainer))
        return number


def _validates_now(trainer: pl.Trainer, batch_idx: int) -> bool:
    every = trainer.val_check_batch
    number = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
    is_due = every not in (None, math.inf) and (number + 1) % every == 0
    return trainer.is_last_batch or trainer.should_stop or is_due


def _is_last_step(trainer: pl.Trainer) -> bool:
    """Return whether training ends with this step: by epochs, by steps, or by a requested stop, as of a timer."""
    is_last_of_epochs = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.should_stop or is_last_of_epochs or 0 <= trainer.fit_loop.max_steps <= trainer.global_step


def _folder(trainer: pl.Trainer) -> Path:
    return Path(trainer.default_root_dir)


def _largest(trainer: pl.Trainer, *numbers: int) -> list[int]:
    """Return the maximum of each number over all ranks."""
    if trainer.world_size == 1:
        return list(numbers)
    largest = torch.tensor(numbers, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return largest.tolist()
