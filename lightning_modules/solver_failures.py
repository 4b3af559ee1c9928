"""Training steps whose ODE solves may fail: one failed solve need not end a run."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from glow_app.bijections import SolverError

__all__ = ["SolverFailures"]


class SolverFailures(pl.LightningModule):
    """A module whose failed solves give gradients that are not finite, which the guard skips.

    Attributes:
        failure: What made the gradients of the present step not finite, where that is known.
    """

    failure: str | None = None

    def failed_loss(self, error: SolverError) -> Tensor:
        """Return the loss of a step whose forward pass failed: NaN, with the graph of all parameters."""
        self.failure = str(error)
        return torch.stack([parameter.sum() for parameter in self.parameters()]).sum() * math.nan

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients; NaN where the adjoint's solve fails."""
        try:
            super().backward(loss, *args, **kwargs)
        except SolverError as error:
            if self.trainer.world_size > 1:
                raise  # the other ranks wait for gradients that this one does not have
            self.failure = str(error)
            for parameter in self.parameters():
                parameter.grad = torch.full_like(parameter, math.nan)
