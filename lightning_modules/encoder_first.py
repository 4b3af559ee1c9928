"""Training of a flow with a condition in two parts: first its encoder, then the flow."""

import math
from abc import ABC
from typing import Any

from pytorch_lightning.strategies import DDPStrategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from glow_app.models.image_model import ImageModel
from glow_app.nn.data_dependent import DataDependentAffine
from lightning_modules.likelihood_module import LikelihoodModule

_ENDLESS_ENCODER_STEPS = 1000  # of a run that only time limits
# Learning rate of the encoder relative to the flow's. At the full rate, gradient noise hides what is left to learn: on
# colours of CIFAR-10, 5,000 steps learnt less than 3,000 at 0.3 of it. A tenth is slightly better there, but too slow
# for enlarging cartoon faces: 29.7 dB after 2,000 steps instead of 30.7.
_ENCODER_RATE = 0.3
# Fraction of the flow's steps in which it settles. On CIFAR-10, draws of upscale2 at temperature 0 were 0.19 dB below
# the estimate with a tenth, and 0.05 dB with a fifth; three tenths, which include steps at higher learning rates, cost
# colourise 0.05 bits/dim.
_SETTLING_FRACTION = 0.2


class EncoderFirst(LikelihoodModule, ABC):
    """Trains image models; of flows with a condition, first the encoder, and then the flow with the encoder fixed.

    Each part of the training has its own schedule; the encoder's learning rate is three tenths of the flow's. A resumed
    run keeps the length of its first part, even if the whole run becomes longer.

    Attributes:
        estimate_steps: Steps that train the encoder; see :class:`~lightning_modules.image_module.DensityModule`.
    """

    model: ImageModel
    estimate_steps: int | None
    _stored_encoder_steps: int | None = None  # from the checkpoint of a resumed run

    def setup(self, stage: str) -> None:
        """Let DDP accept parameters without gradients, which each part of the training has."""
        super().setup(stage)
        if self.model.flow.encoder is not None and isinstance(strategy := self.trainer.strategy, DDPStrategy):
            strategy._ddp_kwargs["find_unused_parameters"] = True

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule; for a flow with a condition, two schedules in sequence."""
        if not (first := self.encoder_steps):
            return super().schedule(optimizer, total_steps)
        rates = [group["lr"] for group in optimizer.param_groups]

        def part(steps: float, share: float) -> LRScheduler:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = group["initial_lr"] = share * rate  # the schedule's base rate
            return self.lr_scheduler(optimizer, steps)

        flow = part(total_steps - first, 1.0)
        encoder = part(first, _ENCODER_RATE)  # created last, since training starts at its rate
        return SequentialLR(optimizer, [encoder, flow], [first])

    def begin_flow(self) -> bool:
        """Mark the encoder as trained after its last step, and return whether this call did so.

        The caller must then initialise the flow again, on differences from the encoder's estimates.
        """
        if self.model.trains_flow or self.global_step < self.encoder_steps:
            return False
        assert self.model.flow.encoder is not None
        self.model.flow.encoder.trained.fill_(True)
        for part in self.model.modules():
            if isinstance(part, DataDependentAffine):
                part.forget()
        return True

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the length of the first part of the run."""
        super().on_load_checkpoint(checkpoint)
        for schedule in checkpoint.get("lr_schedulers", []):
            self._stored_encoder_steps = schedule.get("_milestones", [None])[0]

    @property
    def settles(self) -> bool:
        """Whether the flow is in its last steps, which bring draws at temperature 0 close to the encoder's estimate.

        These are a fifth of its steps, but at least one. Always false if only time limits the run.
        """
        return self.model.trains_flow and self.global_step >= self._total_steps - self.settling_steps

    @property
    def settling_steps(self) -> float:
        """Number of steps in which the flow :attr:`settles`."""
        return max(1, _SETTLING_FRACTION * (self._total_steps - self.encoder_steps))

    @property
    def encoder_steps(self) -> int:
        """Number of steps that train only the encoder of a condition; 0 without a condition."""
        if self.model.flow.encoder is None or self.estimate_steps == 0:
            return 0
        if self._stored_encoder_steps is not None:
            return self._stored_encoder_steps
        total = self._total_steps
        steps = _ENDLESS_ENCODER_STEPS if math.isinf(total) else total * 2 / 3
        if self.estimate_steps is not None:
            steps = self.estimate_steps
        return int(max(1, min(steps, total - 1)))

    @property
    def _total_steps(self) -> float:
        total = self.trainer.estimated_stepping_batches
        return total if total > 0 else math.inf  # Lightning returns -1 for a loader without a length
