"""Base Lightning module: optimiser, checks of the trainer, failed solves, clipping, copies for weight averages."""

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from glow_app.bijections import SolverError

OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]
ScheduleFactory = Callable[[Optimizer, float], LRScheduler]

PRECISIONS = ("32-true", "bf16-mixed", "64-true")


def check_precision(precision: str) -> None:
    """Refuse a precision at which flows are not invertible.

    Raises:
        ValueError: If it is not 32-true, bf16-mixed or 64-true.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision is {precision}; expected one of {', '.join(PRECISIONS)}: a flow whose states are "
            "rounded to 16 bits does not invert, and float16 overflows besides"
        )


class TrainingModule(pl.LightningModule):
    """Base of training modules, on any number of ranks, with or without ODE solves.

    A failed ODE solve does not end the run: it yields non-finite gradients, and ``NonFiniteGuard`` skips that step.

    Args:
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and the number of steps of the whole run; stepped every step.
    Attributes:
        failure: Message of a failed solve in the current step, or None.
    """

    failure: str | None = None

    def __init__(self, optimizer: OptimizerFactory, lr_scheduler: ScheduleFactory) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler

    def setup(self, stage: str) -> None:
        """Refuse a precision at which flows are not invertible, and strategies that would train them wrongly.

        Raises:
            ValueError: If the precision is not 32-true, bf16-mixed or 64-true, or the strategy is one of
                Lightning's that shard parameters.
        """
        if isinstance(strategy := self.trainer.strategy, (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)):
            raise ValueError(
                f"trainer.strategy is {type(strategy).__name__}, which gathers weights around a module's forward "
                "alone, and not around its inverse or its initialisation; use --config trainer/ddp"
            )
        check_precision(str(self.trainer.precision))

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, which is stepped every step."""
        optimizer = self.optimizer(self.parameters())
        schedule = self.schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule of the learning rate."""
        return self.lr_scheduler(optimizer, total_steps)

    def failed_loss(self, error: SolverError) -> Tensor:
        """Return the loss of a step whose forward pass failed: NaN, connected to all parameters."""
        self.failure = str(error)
        return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * math.nan

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; all are NaN if the adjoint's solve fails."""
        try:
            super().backward(loss, *args, **kwargs)
        except SolverError as error:
            if self.trainer.world_size > 1:
                raise  # the other ranks would wait for this rank's gradients
            self.failure = str(error)
            for parameter in self.parameters():
                parameter.grad = torch.full_like(parameter, math.nan)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by value, or by the norm of all gradients.

        Lightning's clipping refuses fused optimisers in mixed precision, because of float16's scaled gradients.
        """
        if gradient_clip_val and gradient_clip_algorithm == "value":
            clip_grad_value_(self.parameters(), gradient_clip_val)
        elif gradient_clip_val:
            clip_grad_norm_(self.parameters(), gradient_clip_val)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The command line's factories refer to the parser, and thus to the trainer and its processes, which cannot be
        # copied. The averaged copy shares them.
        memo |= {id(factory): factory for factory in (self.optimizer, self.lr_scheduler)}
        copy = memo[id(self)] = type(self).__new__(type(self))
        copy.__dict__ = deepcopy(self.__getstate__(), memo)
        return copy
