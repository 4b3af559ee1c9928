"""One line an epoch, for logs and pipes."""

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from lightning_modules.likelihood import LikelihoodModule

__all__ = ["PlainProgress"]


class PlainProgress(Callback):
    """Prints epoch, likelihood and time after each validation; for output that is not a terminal."""

    def __init__(self) -> None:
        self._best = float("inf")
        self._start = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of this epoch."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        assert isinstance(pl_module, LikelihoodModule)
        metric, model, metrics = pl_module.metric, pl_module.model, trainer.callback_metrics
        value = float(metrics.get(f"val/{metric}", float("nan")))
        self._best = min(self._best, value)
        print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  step {trainer.global_step}  "
            f"train {float(metrics.get(f'train/{metric}', float('nan'))):.3f}  val {value:.3f}  "
            f"best {self._best:.3f}  {model.unit}  "
            f"{float(metrics.get(f'{model.things}_per_second', float('nan'))):.0f} {model.things}/s  "
            f"{time.monotonic() - self._start:.0f} s",
            flush=True,
        )
