"""Lightning module that trains a density of vectors."""

from collections.abc import Callable

import torch
from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.models.vector_model import VectorModel
from glow_app.priors import GaussianPrior
from lightning_modules.likelihood_module import LikelihoodModule
from lightning_modules.schedules import LinearWarmupCosine
from lightning_modules.training_module import OptimizerFactory, ScheduleFactory


class VectorDensityModule(LikelihoodModule):
    r"""Maximum likelihood on vectors: minimises the negative log-likelihood, in nats, of a prior without a Glow.

    Args:
        num_features: Number of features per vector.
        prior: The density, see :class:`~glow_app.models.vector_model.VectorModel`.
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and the number of steps of the whole run; stepped every step.
        seed: Seed of the noise of a trace estimator.
    Shape:
        A batch is vectors, float32 (B, num_features).
    """

    metric = "nats"
    model: VectorModel

    def __init__(
        self,
        num_features: int = 2,
        prior: Callable[[tuple[int, int, int], int], Bijection] = GaussianPrior,
        optimizer: OptimizerFactory = torch.optim.Adam,
        lr_scheduler: ScheduleFactory = LinearWarmupCosine,
        seed: int = 0,
    ) -> None:
        super().__init__(VectorModel(num_features, prior), optimizer, lr_scheduler, seed)
        self.save_hyperparameters()

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative log-likelihood of each vector in nats, (B,)."""
        return self.model(x)

    def initialize(self, batch: Tensor, generator: torch.Generator) -> None:
        """Set the standardisation from a batch."""
        self.model.initialize(batch)

    def loss(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return the negative log-likelihood in nats."""
        return self(batch)

    def evaluate(self, batch: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the negative log-likelihood in nats."""
        return {self.metric: -self.model.log_prob(batch)}
