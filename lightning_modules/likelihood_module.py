"""Training by maximum likelihood, on images or points."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import ModuleDict
from torchmetrics import MeanMetric

from glow_app import __version__
from glow_app.bijections import SolveRecord, SolverError, record_solves
from glow_app.models.base import Density
from glow_app.nn.precision import widest_dtype
from glow_app.seeding import Share, step_generator
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from glow_app.storage.model_config import allow_parts
from lightning_modules.base_data import ends_in_repetition
from lightning_modules.runs.recovery import require_same_model
from lightning_modules.training_module import OptimizerFactory, ScheduleFactory, TrainingModule


class LikelihoodModule(TrainingModule, ABC):
    """Maximum likelihood: minimises the mean negative log-likelihood of a density.

    Every random number depends only on the seed, the epoch, the batch index and the row. A resumed run therefore equals
    an uninterrupted one, and a run on several ranks equals a run on a single rank with the same batches.

    Args:
        model: The density.
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and the number of steps of the whole run; stepped every step.
        seed: Seed of all random numbers.
    """

    metric: ClassVar[str]  # last part of the names in the log: "train/METRIC" and "val/METRIC"

    def __init__(self, model: Density, optimizer: OptimizerFactory, lr_scheduler: ScheduleFactory, seed: int) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.model = model
        _ = model.config  # a part without a configuration fails here, and not at the first checkpoint
        allow_parts(model)
        self.seed = seed
        # Not part of the state dict, because metric states are not persistent.
        stages = ("val", "test")
        self.means = ModuleDict({f"{s}_{f}": MeanMetric(nan_strategy="disable") for s in stages for f in self.figures})

    def setup(self, stage: str) -> None:
        """Check the trainer; accumulate means in the widest dtype of the device."""
        super().setup(stage)
        for mean in self.means.values():
            assert isinstance(mean, MeanMetric)
            mean.set_dtype(widest_dtype(self.trainer.strategy.root_device))
            mean.reset()  # sums from a validation in inference mode cannot be changed

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that :meth:`evaluate` returns."""
        return (self.metric,)

    @property
    def monitor(self) -> str:
        """The metric that chooses the best checkpoint; smaller is better."""
        return f"val/{self.metric}"

    @abstractmethod
    def initialize(self, batch: Any, generator: torch.Generator) -> None:
        """Set the model's data-dependent parameters from one training batch."""

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Return the negative log-likelihood of each example, (B,), through ``forward``."""

    @abstractmethod
    def evaluate(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the figures that validation and test report, by name; each has a value per example, (B,)."""

    def generator(self, step: int, stream: str, num_rows: int | None = None) -> torch.Generator:
        """Return a step's generator, from which :func:`~glow_app.seeding.draw_rows` draws this rank's rows."""
        share = Share(self.global_rank, self.trainer.world_size, num_rows)
        return step_generator(self.seed, step, self.device, stream, share)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the mean negative log-likelihood of the batch plus the regularisation of ODE solves."""
        generator = self.generator(batch_idx, f"train-{self.current_epoch}")
        try:
            with record_solves(self.generator(batch_idx, f"trace-{self.current_epoch}")) as solves:
                losses = self.loss(batch, generator)
        except SolverError as error:
            return self.failed_loss(error)
        loss = losses.mean()
        self.log(f"train/{self.metric}", loss, prog_bar=True)
        self._log_evaluations(solves, "train", len(losses))
        return loss + torch.as_tensor(solves.penalty).mean()

    def repeat(self, batch: Any, batch_idx: int) -> None:
        """Repeat the forward pass of a training step with its noise, except that of trace estimates."""
        with self.trainer.precision_plugin.train_step_context():
            self.loss(batch, self.generator(batch_idx, f"train-{self.current_epoch}"))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the figures of the batch, with the same noise in every epoch."""
        self._evaluate(batch, batch_idx, "val", self.trainer.val_dataloaders)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the figures of the batch."""
        self._evaluate(batch, batch_idx, "test", self.trainer.test_dataloaders)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to continue a run with another model, even if the weights fit it."""
        require_same_model(checkpoint[CHECKPOINT_KEY]["model"], self.model.config)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration from which the model can be rebuilt, as plain types only."""
        logged = self.trainer.callback_metrics.items()
        # Learning rates (lr/...) do not describe the model.
        metrics = {name: float(value) for name, value in logged if "/" in name and not name.startswith("lr/")}
        training = {"version": __version__, **metrics, **self.model.facts}
        checkpoint[CHECKPOINT_KEY] = {"model": self.model.config, "training": training}
        hyper_parameters = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        if any(callable(value) for value in hyper_parameters.values()):
            # The module was built in Python; only the plain hyperparameters of the command line can be stored safely.
            del checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]

    def _evaluate(self, batch: Any, batch_idx: int, stage: str, loader: Any) -> None:
        num_rows = getattr(loader, "batch_size", None)
        generator = self.generator(batch_idx, stage, num_rows)
        with record_solves(self.generator(batch_idx, f"trace-{stage}", num_rows)) as solves:
            try:
                figures = self.evaluate(batch, generator)
                if ends_in_repetition(loader, batch_idx):
                    figures = {name: values[:-1] for name, values in figures.items()}
            except SolverError as error:
                if stage != "val":
                    raise
                # Infinite figures are never the best, and training may recover.
                pl.utilities.rank_zero_warn(f"validation in epoch {self.current_epoch}: {error}")
                figures = dict.fromkeys(self.figures, torch.full((1,), math.inf, device=self.device))
        # Lightning's mean over ranks is wrong if the number of examples is not divisible by the number of ranks.
        for name, values in figures.items():
            mean = self.means[key := f"{stage}_{name}"]
            assert isinstance(mean, MeanMetric)
            mean.update(values)
            self.log(f"{stage}/{name}", mean, prog_bar=name == self.metric, metric_attribute=f"means.{key}")
        self._log_evaluations(solves, stage, len(figures[self.metric]))

    def _log_evaluations(self, solves: SolveRecord, stage: str, batch_size: int) -> None:
        if solves.num_evaluations:
            mean = sum(solves.num_evaluations) / len(solves.num_evaluations)
            self.log(f"{stage}/nfe", mean, batch_size=batch_size)
