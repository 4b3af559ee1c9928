"""The two parts of the training of a flow with a condition: its encoder, then the flow."""

import math
from abc import ABC
from typing import Any

from pytorch_lightning.strategies import DDPStrategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from glow_app.models.image_model import ImageModel
from glow_app.nn.data_dependent import DataDependentAffine
from lightning_modules.likelihood_module import LikelihoodModule

_STEPS_OF_ENDLESS = 1000
# Of the flow's learning rate, at which the noise of the gradients hides what is left to learn: of colours of CIFAR-10,
# 5,000 steps learnt less than 3,000 with 0.3 of it. A tenth is a little better there, but too slow for cartoon faces,
# enlarged: 29.7 dB after 2,000 steps instead of 30.7.
_RATE_OF_ENCODER = 0.3
# Of the flow's steps. Of CIFAR-10, a tenth left draws of upscale2 at temperature 0 0.19 dB below the estimate, a fifth
# 0.05; three tenths, at higher learning rates, cost colourise 0.05 bits/dim.
_SETTLING = 0.2


class EncoderFirst(LikelihoodModule, ABC):
    """A module of image models; those with a condition train its encoder first, and then hold it fixed.

    Each part of the training has a schedule of its own, and the encoder three tenths of the learning rate. A run that
    is continued keeps the length of its first part, also if the run becomes longer.

    Attributes:
        estimate_steps: Steps that train the encoder; see :class:`~lightning_modules.density.DensityModule`.
    """

    model: ImageModel
    estimate_steps: int | None
    _continued: int | None = None  # length of the first part of the run that is continued

    def setup(self, stage: str) -> None:
        """Prepare several processes for parameters without gradients, which each part of the training has.

        Raises:
            ValueError: If the strategy relies on gradients of the same parameters in all steps.
        """
        super().setup(stage)
        if self.model.flow.encoder is not None and isinstance(strategy := self.trainer.strategy, DDPStrategy):
            if strategy._ddp_kwargs.get("static_graph"):
                raise ValueError("static_graph: a restorer trains its encoder first and then its flow; leave it out")
            strategy._ddp_kwargs["find_unused_parameters"] = True

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule; of a flow with a condition, one for each part of the training."""
        if not (first := self.encoder_steps):
            return super().schedule(optimizer, total_steps)
        rates = [group["lr"] for group in optimizer.param_groups]

        def part(steps: float, share: float) -> LRScheduler:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = group["initial_lr"] = share * rate  # which a schedule keeps as its base
            return self.lr_scheduler(optimizer, steps)

        flow = part(total_steps - first, 1.0)
        encoder = part(first, _RATE_OF_ENCODER)  # the later one, since training begins at its rate
        return SequentialLR(optimizer, [encoder, flow], [first])

    def begin_flow(self) -> bool:
        """Hold the encoder fixed if its part is over, and return whether that is new.

        The flow is then to be initialised again, on differences from what the encoder estimates.
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
        """Keep the length of the first part of the run that is continued."""
        for schedule in checkpoint.get("lr_schedulers", []):
            self._continued = schedule.get("_milestones", [None])[0]

    @property
    def settles(self) -> bool:
        """Whether the flow is in the last fifth of its steps, or the last one, to bring draws at temperature 0 near the
        estimate; never where time alone bounds the run.
        """
        return self.model.trains_flow and self.global_step >= self._total_steps - self.settling_steps

    @property
    def settling_steps(self) -> float:
        """Steps in which the flow :attr:`settles`."""
        return max(1, _SETTLING * (self._total_steps - self.encoder_steps))

    @property
    def encoder_steps(self) -> int:
        """Steps of the run that train the encoder of a condition alone; 0 without a condition."""
        if self.model.flow.encoder is None or self.estimate_steps == 0:
            return 0
        if self._continued is not None:
            return self._continued
        total = self._total_steps
        steps = _STEPS_OF_ENDLESS if math.isinf(total) else total * 2 / 3
        if self.estimate_steps is not None:
            steps = self.estimate_steps
        return int(max(1, min(steps, total - 1)))

    @property
    def _total_steps(self) -> float:
        total = self.trainer.estimated_stepping_batches
        return total if total > 0 else math.inf  # Lightning's number is -1 for an endless set
