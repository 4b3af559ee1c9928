"""How a run shows its progress: a live line on a terminal, plain lines elsewhere."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn

from lightning_modules.callbacks.status import Status
from lightning_modules.likelihood_module import LikelihoodModule

# Columns of a terminal that are kept for the bar and its step numbers, and from which on there are step numbers.
BAR, WIDE = 12, 120

# Seconds without a validation after which there is a plain line all the same.
SILENCE = 600.0


class PlainProgress(Callback):
    """Prints epoch, likelihoods, speed, time and memory; for output that is not a terminal.

    After each validation, and every 10 minutes where validations are rarer.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        assert isinstance(pl_module, LikelihoodModule)
        self._status = Status(trainer, pl_module)
        self._printed = time.monotonic()
        if trainer.is_global_zero:
            print(self._status.headline, flush=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of this epoch."""
        if not trainer.sanity_checking:
            self._print(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Print a line if it is long since the last one."""
        if time.monotonic() - self._printed >= SILENCE:
            self._print(trainer)

    def _print(self, trainer: pl.Trainer) -> None:
        self._printed = time.monotonic()
        if trainer.is_global_zero:
            print(self._status.line(f"step {trainer.global_step}"), flush=True)


class LiveProgress(ProgressBar):
    """Keeps a bar with the steps of the whole run, and the same figures below it, on a terminal.

    A validation has a bar of its own while it lasts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._validation: TaskID | None = None

    def disable(self) -> None:
        """Show nothing: on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show it."""
        self._enabled = True

    _enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar."""
        assert isinstance(pl_module, LikelihoodModule)
        if not self._enabled:
            return
        self._status = Status(trainer, pl_module)
        columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(bar_width=None)]
        self._progress = Progress(*columns, expand=True)
        if self._progress.console.width >= WIDE:
            self._progress.columns = (*columns, MofNCompleteColumn())
        total = self._status.total_steps
        self._steps = self._progress.add_task("", total=None if total == float("inf") else total)
        self._progress.start()
        self._progress.console.print(self._status.headline, highlight=False)
        self._show(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move the bar."""
        self._show(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar of the validation."""
        if self._progress is not None and not trainer.sanity_checking:
            self._validation = self._progress.add_task("validation", total=sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *args: Any) -> None:
        """Move the bar of the validation."""
        if self._progress is not None and self._validation is not None:
            self._progress.advance(self._validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar of the validation away, and leave a line."""
        if self._progress is None or self._validation is None:
            return
        self._progress.remove_task(self._validation)
        self._validation = None
        self._progress.console.print(self._status.line(width=self._progress.console.width), highlight=False)
        self._show(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is."""
        self.on_train_end(trainer, pl_module)

    def _show(self, trainer: pl.Trainer) -> None:
        if self._progress is not None:
            text = self._status.line(width=self._progress.console.width - BAR)
            self._progress.update(self._steps, completed=trainer.global_step, description=text)
