"""The two parts of the training of a flow with a condition: its encoder, then the flow."""

from abc import ABC

from pytorch_lightning.strategies import DDPStrategy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from glow_app.models.image_model import ImageModel
from glow_app.nn.data_dependent import DataDependentAffine
from lightning_modules.likelihood_module import LikelihoodModule

__all__ = ["EncoderFirst"]


class EncoderFirst(LikelihoodModule, ABC):
    """A module of image models; those with a condition train its encoder first and then hold it fixed.

    Attributes:
        estimate_steps: Steps that train the encoder alone, at most half of the run.
    """

    model: ImageModel
    estimate_steps: int

    def setup(self, stage: str) -> None:
        """Prepare several processes for parameters without gradients, which each part of the training has."""
        super().setup(stage)
        if self.model.flow.encoder is not None and isinstance(strategy := self.trainer.strategy, DDPStrategy):
            strategy._ddp_kwargs["find_unused_parameters"] = True

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule; of a flow with a condition, one for each part of the training."""
        if not (first := self.encoder_steps):
            return super().schedule(optimizer, total_steps)
        parts = [self.lr_scheduler(optimizer, steps) for steps in (first, total_steps - first)]
        return SequentialLR(optimizer, parts, [first])

    def starts_flow(self) -> bool:
        """Hold the encoder fixed if it is trained by now, and return whether that is new.

        The flow is then to be initialised again, on differences from what the encoder estimates.
        """
        encoder = self.model.flow.encoder
        if encoder is None or encoder.trained or self.global_step < self.encoder_steps:
            return False
        encoder.trained.fill_(True)
        for part in self.model.modules():
            if isinstance(part, DataDependentAffine):
                part.forget()
        return True

    @property
    def encoder_steps(self) -> int:
        """Steps of the run that train the encoder of a condition alone; 0 without a condition."""
        if self.model.flow.encoder is None or not self.estimate_steps:
            return 0
        return max(1, int(min(self.estimate_steps, self.trainer.estimated_stepping_batches / 2)))
