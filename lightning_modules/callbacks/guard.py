"""No step on a gradient that is not finite."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from lightning_modules.likelihood import LikelihoodModule

__all__ = ["NonFiniteGuard"]


class NonFiniteGuard(Callback):
    """Measures the gradient norm before clipping, logs it as ``grad_norm``, and skips a step where it is not finite.

    A skipped step leaves the weights and the optimiser's state as they were. The reason is named: a solve that failed,
    or else the first parameter with a bad gradient. A run of bad steps is not an accident any more and ends training.

    Args:
        patience: Consecutive bad steps after which training ends.
    Raises:
        FloatingPointError: After ``patience`` bad steps in a row.
    """

    def __init__(self, patience: int = 20) -> None:
        self.patience = patience
        self._bad_steps = 0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measure, and skip the step if the norm is not finite."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norm = get_total_norm(gradients)
        # Where one rank skips a step, all do, or their weights would part.
        if trainer.strategy.reduce_boolean_decision(bool(torch.isfinite(norm))):
            self._bad_steps = 0
            pl_module.log("grad_norm", norm)
            return
        self._bad_steps += 1
        message = f"step {trainer.global_step}: {self._reason(pl_module)}"
        if self._bad_steps >= self.patience:
            raise FloatingPointError(
                f"{message}, the {self._bad_steps}th bad step in a row; lower the learning rate or lengthen the warm-up"
            )
        pl.utilities.rank_zero_warn(f"{message}; step skipped")
        # Without gradients an optimiser changes neither weights nor its moments.
        optimizer.zero_grad(set_to_none=True)

    @staticmethod
    def _reason(pl_module: pl.LightningModule) -> str:
        if isinstance(pl_module, LikelihoodModule) and (failure := pl_module.failure):
            pl_module.failure = None
            return failure
        named = ((name, p.grad) for name, p in pl_module.named_parameters() if p.grad is not None)
        name = next((name for name, grad in named if not torch.isfinite(grad).all()), "the sum over all")
        return f"the gradient of {name} is not finite"
