"""Lightning module that trains an image model by maximum likelihood."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.nn import ModuleDict, Parameter
from torch.nn.functional import one_hot, softplus
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from glow_app import __version__
from glow_app.bijections import SolverError, record_solves
from glow_app.conditioning import AttributeConditioning
from glow_app.evaluation import faults_in, faults_of
from glow_app.flows import Glow, WaveletFlow
from glow_app.likelihood import bits_per_dim
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import rows_of
from glow_app.nn.precision import widest_dtype
from glow_app.running import Memory
from glow_app.seeding import Share, draw_rows, step_generator
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from lightning_modules.image_data import ImageDataModule
from lightning_modules.resumable_data import ends_in_repetition, first_examples
from lightning_modules.runs.run_trainer import require_exact_trainer
from lightning_modules.schedules import LinearWarmupCosine

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[Parameter]], Optimizer]
ScheduleFactory = Callable[[Optimizer], LRScheduler]  # called with total_steps too

_MARGIN, _SOFTNESS = 50.0, 10.0  # of the contrastive term, nats
# Of the reader's loss: the flow's gradients alone decide the clipping; steps of Adam and Muon do not depend on it.
_READING = 0.01


class ImageModule(pl.LightningModule):
    r"""Maximum likelihood on images: minimises the bits/dim of a single dequantisation draw.

    Every random number depends only on the seed, the epoch, the batch index and the row. A resumed run therefore equals
    an uninterrupted one, and a run on several ranks equals a run on a single rank with the same batches.

    A failed ODE solve does not end the run: it yields non-finite gradients, and ``NonFiniteGuard`` skips that step.

    Args:
        num_bits: Number of most significant bits of the images that are modelled, 1 to 8.
        memory: Activations kept for the backward pass: "store" keeps all, "checkpoint" the input of each
            step; see :func:`~glow_app.running.choose_runners`.
        compile: Whether to compile the training pass of the levels with ``torch.compile``. Compilation takes about a
            minute; on a CPU it needs a C++ compiler.
        contrast: Weight of the contrastive term of attributes, see :meth:`loss`; a step takes twice as long with it.
        optimizer: Called with the parameters.
        lr_scheduler: Called with the optimiser and ``total_steps``, of the whole run; stepped every step.
        seed: Seed of all random numbers.
    Shape:
        A batch is images, uint8 (B, C, H, W), and labels, (B,) or (B, A), which an unconditional flow ignores.
    Attributes:
        failure: Message of a failed solve in the current step, or None.
    Raises:
        ValueError: If there is a contrast without attributes.
    """

    metric: ClassVar[str] = "bpd"  # in the log: "train/bpd" and "val/bpd"
    further_figures: ClassVar[tuple[str, ...]] = ()  # names of what :meth:`evaluate` returns besides the metric
    length_note = ""  # added to the number of steps in the report of a run
    next_command = "sample --checkpoint {run}"  # to continue with after a run
    failure: str | None = None
    _is_impossible = False

    def __init__(
        self,
        flow: Glow | WaveletFlow,
        num_bits: int = 8,
        memory: Memory = "store",
        compile: bool = False,
        contrast: float = 0.0,
        optimizer: OptimizerFactory = torch.optim.Adam,
        lr_scheduler: ScheduleFactory = LinearWarmupCosine,  # type: ignore[assignment]
        seed: int = 0,
    ) -> None:
        super().__init__()
        if contrast and not isinstance(flow.conditioning, AttributeConditioning):
            raise ValueError(f"contrast is {contrast}, but the flow is given no attributes; pass data.attributes or 0")
        self.model, self.seed, self.contrast = ImageModel(flow, num_bits), seed, contrast
        self.model.set_runners(memory, compile)
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        _ = self.model.config  # a part that is not registered fails here, and not at the first checkpoint
        # Lightning's mean over ranks is wrong if the number of examples is not divisible by the number of ranks.
        names = self.metric, *self.further_figures
        self.means = ModuleDict({name: MeanMetric(nan_strategy="disable") for name in names})

    @property
    def monitor(self) -> str:
        """The name in the log of the figure that chooses the best checkpoint; smaller is better."""
        return f"val/{self.metric}"

    def setup(self, stage: str) -> None:
        """Check that the trainer suits a flow, and begin the means in the widest type of the device.

        The model's vocabulary learns from the data, such as class names; raise ValueError if it cannot.
        """
        require_exact_trainer(self.trainer)
        for mean in self.means.values():
            mean.set_dtype(widest_dtype(self.trainer.strategy.root_device))  # type: ignore[operator]
            mean.reset()  # type: ignore[operator]  # sums of an earlier validation, in inference mode, cannot be changed
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule):
            with warnings.catch_warnings(action="ignore" if self.global_rank else None):
                self.model.vocabulary.learn(data.examples("train"))

    def on_fit_start(self) -> None:
        """Initialise the model of a new run, once devices are set up and before the first step.

        Warn if the likelihood of training images is impossible, or the model is not invertible.
        """
        if not self.model.initialized:
            self.initialize_from_data()
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule):
            for fault in faults_of(self.model, data.examples("train")):
                rank_zero_warn(fault)

    def on_validation_end(self) -> None:
        """Warn, once, if the likelihood has become impossible."""
        if not self._is_impossible:
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
        return self.lr_scheduler(optimizer, total_steps=total_steps)  # type: ignore[call-arg]

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

    def forward(self, images: Tensor, given: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Return bits/dim of each image, (B,)."""
        return self.model(images, given, generator)

    def initialize(self, batch: Batch, generator: torch.Generator) -> None:
        """Set the actnorms from a batch."""
        images, labels = batch
        self.model.initialize(images, self.model.conditioning.observe(images, labels, generator), generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        r"""Return bits/dim of a single dequantisation draw, given what is known about the images.

        With a contrast :math:`\lambda`, the gradient, but not the value, of this is added, because likelihood alone
        ignores an attribute that changes it by few nats:

        .. math:: \frac{\lambda \tau}{D \log 2} \log\left(1 + \exp\frac{\log p(y|a') - \log p(y|a) + m}{\tau}\right)

        where one random known attribute differs in a', :math:`m = 50` and :math:`\tau = 10`. Images of which none is
        known have no such term. For a :class:`~glow_app.flows.WaveletFlow`, p is the density of the means that training
        sees whole. The gradient of :meth:`AttributeConditioning.reading_loss
        <glow_app.conditioning.AttributeConditioning.reading_loss>` trains the reader of attributes.
        """
        images, labels = batch
        conditioning = self.model.conditioning
        given = conditioning.observe(images, labels, generator)
        losses = self._contrasted(images, given, generator) if self.contrast else self(images, given, generator)
        if isinstance(conditioning, AttributeConditioning):
            # After all draws for the flow, which are the same without a reader.
            reading = conditioning.reading_loss(images, labels, generator)
            self.log("train/reading", reading.mean())
            losses = losses + _READING * (reading - reading.detach())
        return losses

    def _contrasted(self, images: Tensor, given: Tensor | None, generator: torch.Generator) -> Tensor:
        conditioning = self.model.conditioning
        assert isinstance(conditioning, AttributeConditioning)
        assert given is not None
        y = self.model.dequantised(images, generator)
        flow, both = self.model.flow, torch.cat([given, with_one_changed(conditioning, given, generator)])
        context = self.model.context_of(torch.cat([y, y]), both)
        coarse, details = flow.detail_log_prob(y, rows_of(context, slice(len(y))), generator)
        log_probs = flow.coarse_log_prob(torch.cat([coarse, coarse]), context)
        log_probs = torch.cat([details, details]) + log_probs
        bits, other_bits = bits_per_dim(log_probs, self.model.num_dims, self.model.num_bits).chunk(2)
        nats = self.model.num_dims * math.log(2)
        excess = ((bits - other_bits) * nats + _MARGIN) / _SOFTNESS
        terms = softplus(excess) * ~given.isnan().all(1) * (self.contrast * _SOFTNESS / nats)
        self.log("train/contrast", terms.mean())
        return bits + (terms - terms.detach())

    def evaluate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return bits/dim of a single draw, given what is known about the images."""
        images, labels = batch
        given = self.model.conditioning.observe(images, labels, generator)
        return {self.metric: self.model.bits_per_dim(images, given, generator=generator)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what an earlier part of the run learnt from its data."""
        self.model.vocabulary.load_facts(checkpoint[CHECKPOINT_KEY]["training"])


def with_one_changed(conditioning: AttributeConditioning, given: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return attributes, (B, A), with one known one per image changed: flipped, or drawn as in the training data."""
    draws = draw_rows(torch.rand, (len(given), 1 + given.shape[1]), generator, given.device).to(given)
    is_known = ~given.isnan()
    chosen = draws[:, 1:].where(is_known, -1).argmax(1)
    is_changed = one_hot(chosen, given.shape[1]).bool() & is_known
    drawn = conditioning.rows.to(draws).quantile(draws[:, 0], dim=0)
    return torch.where(is_changed, torch.where(conditioning.is_yes_no(given), 1 - given, drawn), given)
