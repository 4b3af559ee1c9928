"""Training by maximum likelihood, on images or points."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn import ModuleDict, Parameter
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from glow_app import __version__
from glow_app.bijections import SolverError, record_solves
from glow_app.evaluation import faults_in, faults_of
from glow_app.models import Density, ImageModel
from glow_app.nn.precision import widest_dtype
from glow_app.seeding import Share, step_generator
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from glow_app.storage.model_config import allow_parts
from lightning_modules.image_data import ImageDataModule
from lightning_modules.resumable_data import ends_in_repetition, first_examples
from lightning_modules.runs.run_trainer import require_exact_trainer
from lightning_modules.schedules import LinearWarmupCosine

OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]


class ScheduleFactory(Protocol):
    """Makes a schedule of the learning rate."""

    def __call__(self, optimizer: Optimizer, /, total_steps: float) -> LRScheduler:
        """Return the schedule of a run of ``total_steps`` optimiser steps."""


class _Shared(partial[Any]):
    """A factory that copies of a module share, since those of the command line hold its parser."""

    def __deepcopy__(self, memo: Any) -> "_Shared":
        return self


class LikelihoodModule(pl.LightningModule, ABC):
    """Maximum likelihood: minimises the mean negative log-likelihood of a density.

    Every random number depends only on the seed, the epoch, the batch index and the row. A resumed run therefore equals
    an uninterrupted one, and a run on several ranks equals a run on a single rank with the same batches.

    A failed ODE solve does not end the run: it yields non-finite gradients, and ``NonFiniteGuard`` skips that step.

    Args:
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and ``total_steps``, of the whole run; stepped every step.
        seed: Seed of all random numbers.
    Attributes:
        failure: Message of a failed solve in the current step, or None.
    """

    length_note = ""  # added to the number of steps in the report of a run
    next_command = "test --checkpoint {run}"  # to continue with after a run
    metric: ClassVar[str]  # in the log: "train/METRIC" and "val/METRIC"
    further_figures: ClassVar[tuple[str, ...]] = ()  # names of what :meth:`evaluate` returns besides the metric
    failure: str | None = None
    _is_impossible = False

    def __init__(
        self,
        model: Density,
        optimizer: OptimizerFactory = torch.optim.Adam,
        lr_scheduler: ScheduleFactory = LinearWarmupCosine,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model, self.seed = model, seed
        self.optimizer: OptimizerFactory = _Shared(optimizer)
        self.lr_scheduler: ScheduleFactory = _Shared(lr_scheduler)
        _ = model.config  # a part without a configuration fails here, and not at the first checkpoint
        allow_parts(model)
        # Lightning's mean over ranks is wrong if the number of examples is not divisible by the number of ranks.
        names = self.metric, *self.further_figures
        self.means = ModuleDict({name: MeanMetric(nan_strategy="disable") for name in names})

    @property
    def monitor(self) -> str:
        """The name in the log of the figure that chooses the best checkpoint; smaller is better."""
        return f"val/{self.metric}"

    @abstractmethod
    def initialize(self, batch: Any, generator: torch.Generator) -> None:
        """Set the model's data-dependent parameters from a training batch."""

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """Return the negative log-likelihood of each example, (B,), through ``forward``."""

    @abstractmethod
    def evaluate(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the figures that validation reports, by name; each has a value per example, (B,)."""

    def setup(self, stage: str) -> None:
        """Check that the trainer suits a flow, and begin the means in the widest type of the device."""
        require_exact_trainer(self.trainer)
        for mean in self.means.values():
            mean.set_dtype(widest_dtype(self.trainer.strategy.root_device))  # type: ignore[operator]
            mean.reset()  # type: ignore[operator]  # sums of an earlier validation, in inference mode, cannot be changed

    def on_fit_start(self) -> None:
        """Initialise the model of a new run, once devices are set up and before the first step.

        Warn if the likelihood of training images is impossible, or the model is not invertible.
        """
        if not self.model.initialized:
            self.initialize_from_data()
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(self.model, ImageModel) and isinstance(data, ImageDataModule):
            for fault in faults_of(self.model, data.examples("train")):
                rank_zero_warn(fault)

    def on_validation_end(self) -> None:
        """Warn, once, if the likelihood has become impossible."""
        if isinstance(self.model, ImageModel) and not self._is_impossible:
            for fault in faults_in(float(self.trainer.callback_metrics[self.monitor])):
                self._is_impossible = True
                rank_zero_warn(fault)

    def initialize_from_data(self) -> None:
        """Initialise the model from the first examples of the training data, equally on all ranks."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        batch = first_examples(data.train_dataloader(), self.trainer.world_size)
        self.initialize(self.transfer_batch_to_device(batch, self.device, 0), self.generator(0, "initialize"))

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its schedule, which is stepped every step."""
        optimizer = self.optimizer(self.parameters())
        schedule = self.schedule(optimizer, self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedule of the learning rate."""
        return self.lr_scheduler(optimizer, total_steps=total_steps)

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
            self.failure = str(error)
            return math.nan * sum(parameter.sum() for parameter in self.parameters())  # type: ignore[return-value]
        loss = losses.mean()
        self.log(f"train/{self.metric}", loss)
        self.log_evaluations(solves.num_evaluations, "train", len(losses))
        return loss + torch.as_tensor(solves.penalty).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the figures of the batch, with the same noise in every epoch; infinite ones if an ODE solve fails."""
        loader: Any = self.trainer.val_dataloaders
        num_rows = getattr(loader, "batch_size", None)
        try:
            with record_solves(self.generator(batch_idx, "trace-val", num_rows)) as solves:
                figures = self.evaluate(batch, self.generator(batch_idx, "val", num_rows))
        except SolverError as error:  # infinite figures are never the best, and training may recover
            rank_zero_warn(f"validation in epoch {self.current_epoch}: {error}")
            figures = dict.fromkeys(self.means, torch.full((1,), math.inf, device=self.device))
        else:
            if ends_in_repetition(loader, batch_idx):
                figures = {name: values[:-1] for name, values in figures.items()}
            self.log_evaluations(solves.num_evaluations, "val", len(figures[self.metric]))
        for name, values in figures.items():
            mean: Any = self.means[name]
            mean.update(values)
            self.log(f"val/{name}", mean)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by value or by the norm of all gradients; Lightning's clipping refuses fused optimisers in bfloat16."""
        if gradient_clip_val:
            clip = clip_grad_value_ if gradient_clip_algorithm == "value" else clip_grad_norm_
            clip(self.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the configuration from which the model can be rebuilt, as plain types only."""
        logged = self.trainer.callback_metrics.items()
        # Learning rates (lr/...) do not describe the model.
        metrics = {name: float(value) for name, value in logged if "/" in name and not name.startswith("lr/")}
        training = {"version": __version__, **metrics, **self.model.facts}
        checkpoint[CHECKPOINT_KEY] = {"model": self.model.config, "training": training}

    def log_evaluations(self, counts: list[int], stage: str, batch_size: int) -> None:
        """Log the mean number of network evaluations of ODE solves, if there were any."""
        if counts:
            self.log(f"{stage}/nfe", sum(counts) / len(counts), batch_size=batch_size)
