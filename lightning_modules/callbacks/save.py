"""Checkpoints of a run: the best, and the last after an epoch, every so often, and when a signal stops it."""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from lightning_modules.callbacks.guard import NonFiniteGuard
from lightning_modules.runs.recovery import LAST, NEXT, take_place
from lightning_modules.runs.stopping import RunStopped, StopSignals

_SECONDS = 30.0  # from one save at the end of an epoch to the next


class BestCheckpoint(ModelCheckpoint):
    """Keeps ``best.ckpt`` in the run's folder.

    Lightning forgets what was best when a folder was moved, and then replaces it by the next one, however bad. Nor does
    it validate the last step, which is often the best, as the learning rate has decayed, where that is between two
    validations. Here it does, whether epochs, steps or time end the run.

    Args:
        run_dir: The run's folder.
        monitor: The metric, smaller is better.
    """

    def __init__(self, run_dir: str, monitor: str) -> None:
        super().__init__(run_dir, "best", monitor=monitor, enable_version_counter=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best one over, if it is here; no other path, since what is outdone is deleted."""
        assert self.dirpath is not None
        path = Path(self.dirpath, Path(str(state_dict["best_model_path"])).name)
        if path.is_file():
            self.best_model_path = self.kth_best_model_path = str(path)
            self.best_model_score = self.kth_value = torch.as_tensor(state_dict["best_model_score"])
            self.best_k_models = {str(path): self.kth_value}

    def forget(self) -> None:
        """Let the next validation be the best one, whatever was better before."""
        self.best_model_path = self.kth_best_model_path = ""
        self.best_model_score, self.kth_value, self.best_k_models = None, torch.tensor(math.inf), {}

    def on_train_batch_end(self, trainer: pl.Trainer, *arguments: Any) -> None:
        """Let the last step be validated, as Lightning does where it is asked to stop."""
        super().on_train_batch_end(trainer, *arguments)
        trainer.should_stop = _is_last_step(trainer)
        # Where the time is up, Lightning's timer has asked to stop.
        if trainer.should_stop and trainer.check_val_every_n_epoch is not None:
            trainer.check_val_every_n_epoch = 1


class SaveProgress(Checkpoint):
    """Writes ``last.ckpt`` into the run's folder, and keeps the one before it as ``previous.ckpt``.

    After the first and the last epoch; after others 30 seconds or more behind the last save, since of a few pictures an
    epoch is a single step; and inside one every so many steps or minutes. What is saved inside one waits beside the
    file until the next step begins: only then is its last step in the log, behind which a resumed run goes on. On
    SIGTERM, SIGINT, or SIGUSR1 in a SLURM job, all ranks finish the step, save and stop; during a validation that waits
    for its end. After a step that the guard had to skip nothing is saved: finite numbers are not yet good ones.

    Args:
        every_n_steps: Save after so many optimiser steps; None for no such rule.
        every_minutes: Save after so many minutes of training; None for no such rule.
    Raises:
        ValueError: If a number is not above 0.
        RunStopped: After saving, where a signal came.
        RuntimeError: If processes have resumed from different checkpoints, as those of machines without a folder in
            common.
    """

    def __init__(self, every_n_steps: int | None = None, every_minutes: float | None = 10.0) -> None:
        for name, value in {"every_n_steps": every_n_steps, "every_minutes": every_minutes}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; expected a number above 0, or null")
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self._signals = StopSignals()
        self._stopped_by = 0
        self._step_before = 0
        self._saved_step = 0
        self._saved_time = 0.0
        self._saved_epoch = False
        self._waiting = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from here, and listen to signals: not before Lightning has set handlers of its own."""
        self._require_one_step(trainer)
        self._signals.install()
        self._stopped_by = 0
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
        self._saved_epoch = False

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Finish the save of the step before, and stop where a signal came in it; note the step.

        The step is noted to see at its end whether it was one of the optimiser.
        """
        self._finish(trainer)
        if self._stopped_by:
            raise RunStopped(self._stopped_by, _folder(trainer) / LAST)
        self._step_before = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save, if it is time to.

        Never between accumulated gradients, which a checkpoint does not hold, nor just before a validation, which a
        resumed run would not make up for.
        """
        if trainer.global_step == self._step_before or self._validates_now(trainer, batch_idx):
            return
        # Of any rank: clocks differ, and a signal may reach one of them alone.
        number, due = _largest(trainer, self._signals.received, self._is_due(trainer))
        if number or due:
            self._save(trainer)
        self._stopped_by = number

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if it is time to, and stop if a signal came."""
        is_late = not self._saved_epoch or time.monotonic() - self._saved_time >= _SECONDS
        is_due = is_late or _is_last_step(trainer) or self._is_due(trainer)
        number, due = _largest(trainer, self._signals.received, is_due)
        if number or due:
            self._save(trainer)
            self._saved_epoch = True
        self._finish(trainer)
        if number:
            raise RunStopped(number, _folder(trainer) / LAST)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen no longer, before Lightning gives its own handlers back."""
        self._signals.restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Finish what was saved, and listen no longer."""
        self._finish(trainer)
        self._signals.restore()

    def _is_due(self, trainer: pl.Trainer) -> bool:
        steps, minutes = trainer.global_step - self._saved_step, (time.monotonic() - self._saved_time) / 60
        return any(
            limit is not None and value >= limit
            for value, limit in ((steps, self.every_n_steps), (minutes, self.every_minutes))
        )

    @staticmethod
    def _require_one_step(trainer: pl.Trainer) -> None:
        last, negative_first = _largest(trainer, trainer.global_step, -trainer.global_step)
        if last != -negative_first:
            raise RuntimeError(
                f"the processes would go on from different steps, {-negative_first} and {last}: "
                f"{trainer.default_root_dir} must be one folder that all machines see"
            )

    @staticmethod
    def _validates_now(trainer: pl.Trainer, batch_idx: int) -> bool:
        every = trainer.val_check_batch
        number = trainer.fit_loop.total_batch_idx if trainer.check_val_every_n_epoch is None else batch_idx
        in_turn = every not in (None, float("inf")) and (number + 1) % every == 0
        return trainer.is_last_batch or trainer.should_stop or in_turn

    def _save(self, trainer: pl.Trainer) -> None:
        guards = [one for one in trainer.callbacks if isinstance(one, NonFiniteGuard)]  # type: ignore[attr-defined]
        if not any(guard.in_trouble for guard in guards):
            trainer.save_checkpoint(_folder(trainer) / NEXT)
            self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
            self._waiting = trainer.is_global_zero

    def _finish(self, trainer: pl.Trainer) -> None:
        if self._waiting:
            take_place(_folder(trainer))
            self._waiting = False


def _is_last_step(trainer: pl.Trainer) -> bool:
    """Return whether training ends with this step, by epochs, steps, or what has asked it to stop, such as a timer."""
    is_last_of_epochs = trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
    return trainer.should_stop or is_last_of_epochs or 0 <= trainer.max_steps <= trainer.global_step


def _folder(trainer: pl.Trainer) -> Path:
    return Path(trainer.default_root_dir)


def _largest(trainer: pl.Trainer, *numbers: int) -> list[int]:
    """Return the largest of each number over all ranks."""
    if trainer.world_size == 1:
        return list(numbers)
    largest = torch.tensor(numbers, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
    return largest.tolist()
