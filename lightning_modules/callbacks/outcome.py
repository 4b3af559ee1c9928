"""How a run ends: early stopping, and the outcome in one line."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from glow_app.evaluation import faults_in
from glow_app.messages import pluralise
from glow_app.storage.checkpoint import read_checkpoint
from lightning_modules.runs.state import RunState

_NOISE = 0.005  # a difference that may be chance


class StopEarly(EarlyStopping):
    """Stops training after ``patience`` validations in a row without a better figure; never if None.

    A resumed run continues the count, and a run that had stopped remains stopped unless the patience is raised.
    """

    def __init__(self, patience: int | None = None) -> None:
        super().__init__("", patience=patience or math.inf, check_finite=False, check_on_train_epoch_end=False)  # type: ignore[arg-type]

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Take the figure that chooses the best checkpoint."""
        self.monitor = str(pl_module.monitor)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the validation."""
        super().on_validation_end(trainer, pl_module)
        RunState.of(trainer).is_out_of_patience = self.wait_count >= self.patience

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count, but not the patience."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End a run that had stopped before."""
        RunState.of(trainer).is_out_of_patience = self.wait_count >= self.patience
        trainer.should_stop |= self.wait_count >= self.patience


def outcome(trainer: pl.Trainer, module: Any) -> str:
    """Return the best step and what followed it; an empty string if nothing was validated."""
    state = RunState.of(trainer)
    best, before = state.best, state.at_start
    if not best.best_model_path or not Path(best.best_model_path).exists():
        return ""
    step, last = read_checkpoint(Path(best.best_model_path))["global_step"], trainer.global_step
    steps = trainer.estimated_stepping_batches
    total = f" of {round(steps):,}" if 0 < steps < float("inf") else ""
    num_held_out = _num_validated(trainer)
    value = float(best.best_model_score)
    held_out = f"{value:.3f} {module.model.unit} on {pluralise(num_held_out, 'picture')} held out"
    held_out += "" if before is None else f", {before:.3f} before training"
    line = f"best at step {step:,}{total} ({held_out})"
    if module.metric == "bpd" and (faults := faults_in(value)):
        return f"{line}; {faults[0]}"
    if before is not None and step == 0:
        line += "; no step was better than the model it began from, which is exported: more pictures or a lower "
        line += "--optimizer.lr may help"
    elif before is not None and value > before - _NOISE:
        line += "; no clear gain over the model it began from"
    elif step < last:
        latest = trainer.callback_metrics.get(module.monitor)  # None if the run was complete already
        is_worse = latest is not None and float(latest) > value + _NOISE
        line += "; later ones overfitted" if is_worse else "; later ones were no better"
        line += "" if latest is None else f" ({float(latest):.3f} at step {last:,})"
    else:
        line += "; still improving: longer training may help"
    if (limit := state.reached_limit(trainer)) == "early_stopping.patience":
        return f"{line}, so training stopped early"
    return f"{line}; the time was up at step {last:,}" if limit == "trainer.max_time" else line


def _num_validated(trainer: pl.Trainer) -> int:
    """Return the number of validation images, as far as the trainer's limit of batches allows."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    total, limit = len(data.examples("validation")), trainer.limit_val_batches
    of_all = (data.hparams["eval_batch_size"] or data.hparams["batch_size"]) * trainer.world_size
    num_batches = limit if isinstance(limit, int) else int(math.ceil(total / of_all) * limit)
    return min(total, num_batches * of_all)
