"""No step on a gradient that is not finite, and back to a checkpoint after too many of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from lightning_modules.callbacks.ema import EMA
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.runs.recovery import good_checkpoint, read_whole
from lightning_modules.sharding import total_norm

# What schedules keep in an optimiser's groups: the last two are OneCycleLR's.
_RATES = ("lr", "initial_lr", "max_lr", "min_lr")


class NonFiniteGuard(Callback):
    """Measures the gradient norm before clipping, logs it as ``grad_norm``, and skips a step where it is not finite.

    A skipped step leaves the weights and the optimiser's state as they were, on all ranks. The reason is named: a solve
    that failed, the first module whose output is not finite, or else the first gradient. A run of bad steps is not an
    accident any more: weights, averages and optimiser go back to the last good checkpoint, and on with half the
    learning rate and other batches.

    Args:
        patience: Consecutive bad steps after which training goes back.
        max_rollbacks: How often it may, before it ends.
    Raises:
        FloatingPointError: After ``patience`` bad steps in a row, where there is nothing to go back to, or it has been
            gone back to too often.
    """

    def __init__(self, patience: int = 20, max_rollbacks: int = 3) -> None:
        self.patience = patience
        self.max_rollbacks = max_rollbacks
        self._bad_steps = 0
        self._rollbacks = 0
        self._gone_back_to: set[Path] = set()
        self._batch: tuple[Any, int] = (None, 0)

    @property
    def in_trouble(self) -> bool:
        """Whether there was no good step since a bad one, so that the weights are not to be trusted."""
        return self._bad_steps > 0 or bool(self._gone_back_to)

    def state_dict(self) -> dict[str, Any]:
        """Return how often training went back."""
        return {"rollbacks": self._rollbacks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self._rollbacks = state_dict["rollbacks"]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the batch, for the case that it is bad."""
        self._batch = batch, batch_idx

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure, and skip the step if the norm is not finite."""
        assert isinstance(pl_module, LikelihoodModule)
        norm = total_norm(pl_module)
        finite = bool(torch.isfinite(norm))
        # If one rank skips a step, all do; otherwise their weights would diverge.
        if trainer.strategy.reduce_boolean_decision(finite):
            self._bad_steps = 0
            self._gone_back_to.clear()
            pl_module.log("grad_norm", norm)
            return
        self._bad_steps += 1
        # On all ranks, which a forward pass with sharded weights needs.
        own_reason = self._reason(pl_module)
        reason = "another rank's gradients are not finite" if finite else own_reason
        message = f"step {trainer.global_step}: {reason}"
        # Without gradients an optimiser changes neither weights nor its moments.
        optimizer.zero_grad(set_to_none=True)
        if self._bad_steps < self.patience:
            pl.utilities.rank_zero_warn(f"{message}; step skipped")
            return
        message = f"{message}, the {self._bad_steps}th bad step in a row"
        # Not a checkpoint that only bad steps have followed: it was saved too late.
        path = trainer.strategy.broadcast(good_checkpoint(Path(trainer.default_root_dir), self._gone_back_to))
        if path is None or self._rollbacks == self.max_rollbacks:
            raise FloatingPointError(f"{message}; lower the learning rate or lengthen the warm-up")
        roll_back(trainer, pl_module, path)
        self._bad_steps, self._rollbacks = 0, self._rollbacks + 1
        self._gone_back_to.add(path)
        pl.utilities.rank_zero_warn(f"{message}; went back to {path}, and on with half the learning rate")

    def _reason(self, pl_module: LikelihoodModule) -> str:
        if failure := pl_module.failure:
            pl_module.failure = None
            return failure
        if (name := _first_bad_module(pl_module, lambda: pl_module.repeat(*self._batch))) is not None:
            return f"the output of {name} is not finite"
        bad = [name for name, p in pl_module.named_parameters() if p.grad is not None and not _is_finite(p.grad)]
        # The backward pass came to the last parameter first.
        return f"the gradient of {bad[-1] if bad else 'the sum over all'} is not finite"


def roll_back(trainer: pl.Trainer, module: LikelihoodModule, path: Path) -> None:
    """Take weights, averages and the optimiser's state from a checkpoint, and halve the learning rates.

    Steps, epochs, the order of the data and the place in the schedule go on, so that the harmful batches do not come
    again at once.
    """
    checkpoint = read_whole(path)
    module.load_state_dict(checkpoint["state_dict"])
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EMA):
            callback.on_load_checkpoint(trainer, module, checkpoint)
    for optimizer, state in zip(trainer.optimizers, checkpoint["optimizer_states"], strict=True):
        halved = [{key: rate / 2 for key, rate in group.items() if key in _RATES} for group in optimizer.param_groups]
        optimizer.load_state_dict(state)
        for group, values in zip(optimizer.param_groups, halved, strict=True):
            group.update(values)
    for config in trainer.lr_scheduler_configs:
        _halve(config.scheduler)


def _halve(scheduler: Any) -> None:
    for name in ("base_lrs", "max_lrs"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, [rate / 2 for rate in getattr(scheduler, name)])
    if hasattr(scheduler, "eta_min"):
        scheduler.eta_min /= 2
    for inner in getattr(scheduler, "_schedulers", []):  # of SequentialLR and ChainedScheduler
        _halve(inner)


def _first_bad_module(module: nn.Module, run: Callable[[], object]) -> str | None:
    """Return the innermost module that first made numbers that are not finite out of finite ones during ``run``."""
    names: list[str] = []
    handles = []
    for name, part in module.named_modules():

        def watch(part: nn.Module, inputs: Any, outputs: Any, name: str = name) -> None:
            if not names and not _is_finite(outputs) and _is_finite(inputs):
                names.append(f"{name} ({type(part).__name__})")

        handles.append(part.register_forward_hook(watch))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return names[0] if names else None


def _is_finite(tree: Any) -> bool:
    return all(bool(leaf.isfinite().all()) for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
