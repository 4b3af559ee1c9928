"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ProgressBar
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TaskID, TextColumn

from lightning_modules.callbacks.status import Status
from lightning_modules.likelihood_module import LikelihoodModule

BAR = 12  # terminal columns reserved for the bar
WIDE = 120  # terminal columns from which step numbers are shown too

# Seconds without output after which a plain line is printed without a validation.
SILENCE = 600.0


class PlainProgress(Callback):
    """Prints epoch, likelihoods, speed, time and memory, for output that is not a terminal.

    It prints a line after each validation, and every 10 minutes if validations are less frequent.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the headline, and start the clock."""
        assert isinstance(pl_module, LikelihoodModule)
        self._status = Status(trainer, pl_module)
        self._printed = time.monotonic()
        if trainer.is_global_zero:
            print(self._status.headline, flush=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a line."""
        if not trainer.sanity_checking:
            self._print(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Print a line if the last one was printed long ago."""
        if time.monotonic() - self._printed >= SILENCE:
            self._print(trainer)

    def _print(self, trainer: pl.Trainer) -> None:
        self._printed = time.monotonic()
        if trainer.is_global_zero:
            print(self._status.line(f"step {trainer.global_step}"), flush=True)


class LiveProgress(ProgressBar):
    """Shows a progress bar of the whole run on a terminal, with the figures of :class:`PlainProgress`.

    A validation has its own bar while it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._validation: TaskID | None = None

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bar."""
        self._enabled = True

    _enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the headline and the bar."""
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
        """Update the bar."""
        self._show(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar of the validation."""
        if self._progress is not None and not trainer.sanity_checking:
            self._validation = self._progress.add_task("validation", total=sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *args: Any) -> None:
        """Update the bar of the validation."""
        if self._progress is not None and self._validation is not None:
            self._progress.advance(self._validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar of the validation, and print a line."""
        if self._progress is None or self._validation is None:
            return
        self._progress.remove_task(self._validation)
        self._validation = None
        self._progress.console.print(self._status.line(width=self._progress.console.width), highlight=False)
        self._show(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop updating the bar."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Stop updating the bar."""
        self.on_train_end(trainer, pl_module)

    def _show(self, trainer: pl.Trainer) -> None:
        if self._progress is not None:
            description = self._status.line(width=self._progress.console.width - BAR)
            self._progress.update(self._steps, completed=trainer.global_step, description=description)
