"""Protection against non-finite gradients: skips steps, and returns to a checkpoint after too many."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from glow_app.messages import pluralise
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.checkpoints import good_checkpoint, read_whole
from lightning_modules.runs.state import RunState

_RATES = ("lr", "initial_lr")  # keys of learning rates in an optimiser's groups


class NonFiniteGuard(Callback):
    """Logs the gradient norm before clipping as ``grad_norm``, and skips steps where it is not finite.

    A skipped step leaves weights and optimiser state unchanged, on all ranks. A warning names the cause: a failed
    solve or the first non-finite gradient; ``--trainer.detect_anomaly true`` shows where it arises. After ``patience``
    bad steps in a row, weights, averages and optimiser state are restored from the last good checkpoint, and training
    continues with half the learning rate and other batches.

    Args:
        patience: Number of consecutive bad steps before a rollback.
        max_rollbacks: Maximum number of rollbacks.
    Raises:
        FloatingPointError: After ``patience`` bad steps in a row, if there is no checkpoint to return to, or
            ``max_rollbacks`` is reached.
    """

    def __init__(self, patience: int = 20, max_rollbacks: int = 3) -> None:
        self.patience, self.max_rollbacks = patience, max_rollbacks
        self._bad_steps = self._rollbacks = 0
        self._restored: set[Path] = set()  # checkpoints after which there was no good step yet

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the gradient norm; if it is not finite, skip the step or roll back."""
        assert isinstance(pl_module, ImageModule)
        norm = get_total_norm([p.grad for p in pl_module.parameters() if p.grad is not None])
        RunState.of(trainer).in_trouble = not (is_finite := bool(norm.isfinite()))
        if is_finite:  # on all ranks alike, since they have averaged their gradients
            self._bad_steps = 0
            self._restored.clear()
            pl_module.log("grad_norm", norm)
            return
        self._bad_steps += 1
        message = f"step {trainer.global_step}: {_cause(pl_module)}"
        # Without gradients, an optimiser changes neither weights nor moments.
        optimizer.zero_grad(set_to_none=True)
        if self._bad_steps < self.patience:
            pl.utilities.rank_zero_warn(f"{message}; step skipped")
            return
        message += f", after {pluralise(self._bad_steps, 'bad step')} in a row"
        path = None
        if trainer.is_global_zero:
            with suppress(ValueError):  # if no checkpoint is good
                # A checkpoint that only bad steps have followed was saved too late.
                good = good_checkpoint(Path(trainer.default_root_dir), self._restored)
                path = None if good is None else good[0]
        path = trainer.strategy.broadcast(path)
        if path is None or self._rollbacks == self.max_rollbacks:
            raise FloatingPointError(f"{message}; lower the learning rate or lengthen the warm-up")
        roll_back(trainer, pl_module, path)
        self._bad_steps, self._rollbacks = 0, self._rollbacks + 1
        self._restored.add(path)
        pl.utilities.rank_zero_warn(f"{message}; restored {path} and halved the learning rate")


def _cause(pl_module: ImageModule) -> str:
    """Return why the gradients of the current step are not finite."""
    if failure := pl_module.failure:
        pl_module.failure = None
        return failure
    bad = [name for name, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    # The backward pass starts at the last parameter.
    return f"the gradient of {bad[-1] if bad else 'the sum over all'} is not finite"


def roll_back(trainer: pl.Trainer, module: ImageModule, path: Path) -> None:
    """Restore weights, averages and optimiser state from a checkpoint, and halve the learning rates.

    Steps, epochs, the data order and the position in the schedule continue, so that the harmful batches are not
    repeated at once.
    """
    checkpoint = read_whole(path)
    module.load_state_dict(checkpoint["state_dict"])
    if (average := RunState.of(trainer).average) is not None:
        average.on_load_checkpoint(trainer, module, checkpoint)
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizer_states"], strict=True):
        halved = [{key: rate / 2 for key, rate in group.items() if key in _RATES} for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, values in zip(optimizer.param_groups, halved, strict=True):
            group.update(values)
    for config in trainer.lr_scheduler_configs:
        schedule: Any = config.scheduler
        for part in getattr(schedule, "_schedulers", [schedule]):  # those of schedules in sequence
            part.base_lrs = [rate / 2 for rate in part.base_lrs]
