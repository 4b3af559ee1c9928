"""Status of a run, as text for the progress callbacks."""

import resource
import time
from collections.abc import Iterator
from datetime import timedelta

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, Timer

from glow_app.messages import pluralise
from lightning_modules.encoder_first import EncoderFirst
from lightning_modules.likelihood_module import LikelihoodModule


class Status:
    """Describes a running fit in short lines."""

    def __init__(self, trainer: pl.Trainer, module: LikelihoodModule) -> None:
        self._trainer = trainer
        self._module = module
        self._start = time.monotonic()
        self._first_step = trainer.global_step

    @property
    def total_steps(self) -> float:
        """Optimiser steps of the whole run; infinite if only time limits it."""
        return self._trainer.estimated_stepping_batches

    @property
    def headline(self) -> str:
        """Size of the model, and length, precision and device of the training."""
        parameters = sum(parameter.numel() for parameter in self._module.parameters())
        ranks = self._trainer.world_size
        processes = f" in {ranks} processes" if ranks > 1 else ""
        steps = "" if self.total_steps == float("inf") else f", {pluralise(round(self.total_steps), 'step')}"
        if isinstance(self._module, EncoderFirst) and self._module.encoder_steps:
            steps += f", the first {self._module.encoder_steps:,} steps for the encoder"
        return f"{parameters:,} parameters{steps}{processes}, {self._trainer.precision} on {self._module.device}"

    def line(self, *more: str, width: int | None = None) -> str:
        """Return the epoch, ``more``, and likelihoods, speed, time and memory as far as they are known.

        Args:
            more: Texts after the epoch.
            width: Maximum number of characters, for which the least important figures are left out; no limit if None.
        """
        last = self._trainer.max_epochs
        epoch = f"epoch {self._trainer.current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")
        figures = list(self._figures())
        for kind in ("memory", "elapsed", "speed", "best", "train"):
            if width is None or len("  ".join([epoch, *more, *(text for _, text in figures)])) <= width:
                break
            figures = [figure for figure in figures if figure[0] != kind]
        return "  ".join([epoch, *more, *(text for _, text in figures)])

    def _figures(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and the text of each figure."""
        metrics, metric = self._trainer.callback_metrics, self._module.metric
        values = {name: metrics.get(f"{name}/{metric}") for name in ("train", "val")} | {"best": self._best()}
        likelihoods = {name: float(value) for name, value in values.items() if value is not None}
        yield from ((name, f"{name} {value:.3f}") for name, value in likelihoods.items())
        if likelihoods:
            yield "unit", self._module.model.unit
        if (psnr := metrics.get("val/psnr")) is not None:
            yield "psnr", f"{float(psnr):.2f} dB"
        things = self._module.model.things
        if (rate := metrics.get(f"{things}_per_second")) is not None:
            loading = float(metrics.get("loading", 0.0))
            hint = f", loading {loading:.0%} of the time" if loading > 0.05 else ""
            yield "speed", f"{float(rate):,.0f} {things}/s{hint}"
        yield "elapsed", f"{_duration(time.monotonic() - self._start)} elapsed"
        if (left := self._seconds_left()) is not None:
            yield "left", f"{_duration(left)} left"
        yield "memory", f"{self._memory() / 1e9:.1f} GB"

    def _best(self) -> float | None:
        name = f"val/{self._module.metric}"
        if self._module.monitor != name:
            return None
        callbacks = self._trainer.checkpoint_callbacks
        checkpoints = [callback for callback in callbacks if isinstance(callback, ModelCheckpoint)]
        scores = [checkpoint.best_model_score for checkpoint in checkpoints if checkpoint.monitor == name]
        # Checkpoint callbacks run last, so their scores do not include the current validation yet.
        scores.append(self._trainer.callback_metrics.get(name))
        return min((float(score) for score in scores if score is not None), default=None)

    def _seconds_left(self) -> float | None:
        done, total = self._trainer.global_step - self._first_step, self.total_steps
        limits = [left for timer in _timers(self._trainer) if (left := timer.time_remaining()) is not None]
        if done and total != float("inf"):
            limits.append((time.monotonic() - self._start) / done * max(0.0, total - self._trainer.global_step))
        return min(limits, default=None)

    def _memory(self) -> int:
        """Return the peak memory in bytes: of tensors on a GPU, or of this process on a CPU."""
        if (device := self._module.device).type == "cuda":
            return torch.cuda.max_memory_allocated(device)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def nothing_left(trainer: pl.Trainer) -> str:
    """Return a message that names the limits because of which a fit made no step."""
    reached = {}
    # Not current_epoch, which does not count a last epoch that max_steps has ended.
    epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= epochs:
        reached["max_epochs N"] = f"{epochs:,} of {trainer.max_epochs:,} epochs"
    if 0 <= trainer.max_steps <= trainer.global_step:
        reached["max_steps N"] = f"{trainer.global_step:,} of {trainer.max_steps:,} steps"
    for timer in _timers(trainer):
        if (left := timer.time_remaining()) is not None and left <= 0:
            elapsed = timer.time_elapsed()
            reached["max_time DD:HH:MM:SS"] = f"{_duration(elapsed)} of {_duration(elapsed + left)}"
    if not reached:
        return f"nothing was left to train: --trainer.limit_train_batches is {trainer.limit_train_batches}"
    options = " and ".join(f"--trainer.{option}" for option in reached)
    return f"nothing was left to train: already at {' and '.join(reached.values())}; add {options}"


def _timers(trainer: pl.Trainer) -> list[Timer]:
    """Return the callbacks that limit the time of a run, such as that of ``max_time``."""
    return [callback for callback in getattr(trainer, "callbacks", []) if isinstance(callback, Timer)]


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
