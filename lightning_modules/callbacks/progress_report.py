"""Progress of a run: throughput, a line after each validation, a live bar on a terminal, and the page of the run.

Lightning's bars wrap their figures on 80 columns, show only one epoch, and print nothing elsewhere.
"""

import math
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from torch import Tensor

from glow_app.evaluation.report import write_report
from glow_app.messages import pluralise
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.run_trainer import PRECISIONS
from lightning_modules.runs.state import RunState

_BAR = 12  # terminal columns reserved for the bar
_FIRST, _SILENCE = 20.0, 600.0  # seconds until the first line, and until another without a validation
_INTERVAL = 0.2  # seconds between updates of the bar, since reading a figure waits for a GPU
_REPORT_INTERVAL = 30.0  # seconds between reports, whose curves take half a second


class Progress(Callback):
    """Prints epoch, likelihoods, speed, time left and memory after each validation, and at least every ten minutes.

    The first line is printed after 20 seconds.

    Args:
        live: Whether to show a bar of the whole run with the same figures.
    Attributes:
        at_start: The figure that chooses the best checkpoint before the first step, if the run begins from a model.
    """

    def __init__(self, live: bool = False) -> None:
        self._live = live
        self._bar: Bar | None = None
        self.at_start: float | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the figure before the first step."""
        return {"at_start": self.at_start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.at_start = state_dict["at_start"]

    def on_sanity_check_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the figure of the model from which the run begins."""
        assert isinstance(pl_module, ImageModule)
        self.at_start = RunState.of(trainer).at_start = float(trainer.callback_metrics[pl_module.monitor])
        if trainer.is_global_zero:
            print(f"starts at   val {self.at_start:.3f}  {pl_module.model.unit}", flush=True)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give a resumed run the figure before its first step."""
        RunState.of(trainer).at_start = self.at_start

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print size of the model, length, precision and device; start the clock and the bar."""
        assert isinstance(pl_module, ImageModule)
        self._start, self._first_step, total = time.monotonic(), trainer.global_step, trainer.estimated_stepping_batches
        self._due = self._start + (_INTERVAL if self._live else _FIRST)
        if not trainer.is_global_zero:
            return
        steps = "" if total == math.inf else f", {pluralise(round(total), 'step')}"
        steps += pl_module.length_note
        processes = f" in {trainer.world_size} processes" if trainer.world_size > 1 else ""
        parameters = f"{sum(parameter.numel() for parameter in pl_module.parameters()):,} parameters"
        device = "the CPU" if pl_module.device.type == "cpu" else f"the GPU {pl_module.device}"
        print(f"{parameters}{steps}{processes}, {PRECISIONS[trainer.precision]}, on {device}", flush=True)
        if self._live:
            self._bar = Bar(TextColumn("{task.description}"), BarColumn(bar_width=None), expand=True)
            self._bar.add_task("", total=None if total == math.inf else total)
            self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Update the bar, or print a line if the last one was printed long ago."""
        if time.monotonic() >= self._due:
            self._show(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a line."""
        if not trainer.sanity_checking:
            width = None if self._bar is None else self._bar.console.width
            if trainer.is_global_zero:
                print(self._line(trainer, pl_module, width), flush=True)
            self._due = time.monotonic() + _SILENCE
            if self._bar is not None:
                self._show(trainer, pl_module)

    def on_train_end(self, *_: Any) -> None:
        """Stop the bar."""
        if self._bar is not None:
            self._bar.stop()

    on_exception = on_train_end  # type: ignore[assignment] # takes its arguments too

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._due = time.monotonic() + (_SILENCE if self._bar is None else _INTERVAL)
        if self._bar is not None:
            description = self._line(trainer, pl_module, self._bar.console.width - _BAR)
            self._bar.update(self._bar.task_ids[0], completed=trainer.global_step, description=description)
        elif trainer.is_global_zero:
            print(self._line(trainer, pl_module), flush=True)

    def _line(self, trainer: pl.Trainer, module: pl.LightningModule, width: int | None = None) -> str:
        """Return epoch, step and figures; on a narrow terminal without the least important ones."""
        assert isinstance(module, ImageModule)
        last, metrics, examples = trainer.max_epochs, trainer.callback_metrics, module.model.examples
        texts = {"epoch": f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")}
        texts["step"] = f"step {trainer.global_step}"
        for name in ("train", "val"):
            if (value := metrics.get(f"{name}/{module.metric}")) is not None:
                texts[name] = f"{name} {float(value):.3f}"
        texts["unit"] = module.model.unit
        if (psnr := metrics.get("val/psnr")) is not None:
            texts["psnr"] = f"{float(psnr):.2f} dB"
        if (rate := metrics.get(f"{examples}_per_second")) is not None:
            loading = float(metrics.get("loading", 0.0))
            hint = f", loading {loading:.0%} of the time" if loading > 0.05 else ""
            texts["speed"] = f"{float(rate):,.0f} {examples}/s{hint}"
        texts["elapsed"] = f"{_duration(time.monotonic() - self._start)} elapsed"
        if (left := self._seconds_left(trainer)) is not None:
            texts["left"] = f"{_duration(left)} left"
        if memory := _memory(module.device):
            texts["memory"] = f"{memory / 1e9:.1f} GB"
        for name in ("memory", "elapsed", "step", "speed", "train"):
            if width is not None and len("  ".join(texts.values())) > width:
                texts.pop(name, None)
        return "  ".join(texts.values())

    def _seconds_left(self, trainer: pl.Trainer) -> float | None:
        left = RunState.of(trainer).seconds_left()
        limits = [] if left is None else [left]
        done, total = trainer.global_step - self._first_step, trainer.estimated_stepping_batches
        if done and total != math.inf:
            limits.append((time.monotonic() - self._start) / done * max(0.0, total - trainer.global_step))
        return min(limits, default=None)


def _memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of tensors on a GPU, or of this process on a CPU; 0 on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class Throughput(Callback):
    """Logs ``images_per_second`` (or points) over all ranks, and ``loading``, each time the trainer logs in training.

    ``loading`` is the share of time in which the first rank waits for its loader. Lightning's ``ThroughputMonitor``
    synchronises a GPU in every step.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, also after a validation."""
        self._examples, self._since = 0, time.perf_counter()
        self._waited = getattr(trainer.train_dataloader, "waited", 0.0)

    on_validation_end = on_train_start

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; log at the end of a log interval."""
        assert isinstance(pl_module, ImageModule)
        self._examples += len(batch if isinstance(batch, Tensor) else batch[0]) * trainer.world_size
        if (batch_idx + 1) % trainer.log_every_n_steps and not trainer.is_last_batch:  # type: ignore[attr-defined]
            return
        seconds = max(time.perf_counter() - self._since, 1e-9)
        pl_module.log(f"{pl_module.model.examples}_per_second", self._examples / seconds)
        waited = getattr(trainer.train_dataloader, "waited", 0.0) - self._waited
        pl_module.log("loading", min(1.0, waited / seconds))
        self.on_train_start(trainer, pl_module)


class Report(Callback):
    """Writes ``report.html`` after validations, at most every 30 seconds, and after training.

    Place it after the grids of samples.
    """

    def on_fit_start(self, *_: Any) -> None:
        """Start the clock."""
        self._is_due, self._written = False, time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the report, unless it was written a short time ago."""
        self._is_due = trainer.is_global_zero and not trainer.sanity_checking
        if time.monotonic() > self._written + _REPORT_INTERVAL:
            self.on_train_end(trainer)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write the report of the last validation."""
        if self._is_due:
            for logger in trainer.loggers:
                logger.save()
            write_report(Path(trainer.default_root_dir))
            self._is_due, self._written = False, time.monotonic()
