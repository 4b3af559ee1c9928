"""Training of restoration models in two parts: first the encoder of the damaged picture, then the flow."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR

from glow_app.bijections import PrincipalDirections, full_precision
from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.nn import DataDependentAffine
from glow_app.pictures.images import grid
from glow_app.pipeline.sampling import draw, draw_settings
from glow_app.priors import GaussianPrior
from glow_app.restoration import PictureConditioning, picture_conditioning_of
from glow_app.restoration.encoder import base_picture
from glow_app.seeding import step_generator
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from lightning_modules.callbacks import SampleGrids
from lightning_modules.image_module import Batch, ImageModule
from lightning_modules.runs.state import RunState

_ENDLESS_ENCODER_STEPS = 1000  # of a run that is limited only by time
# Learning rate of the encoder relative to the flow's. At the full rate, gradient noise hides what is left to learn; a
# tenth of it is too slow.
_ENCODER_RATE = 0.3
# Fraction of the flow's steps at the end in which validation fits the prior; limits of the data that it is fitted to:
# batches as a share of these steps, and values of latents over all ranks (64 MiB in float32).
_FINAL_FRACTION = 0.2
_SHARE = 1 / 4
_NUM_VALUES = 2**24
# Standard deviation of further noise in the loss of the estimate, relative to the range of images. Without it, images
# that need hardly any change have by far the largest gradients.
_NOISE = 4 / 256


class RestorationModule(ImageModule):
    r"""Trains a flow that is given damaged pictures: first the encoder, by its estimate, then the flow, by likelihood.

    Each part has its own schedule, and the encoder 0.3 of the optimiser's learning rate. A resumed run keeps the length
    of its first part, even if the whole run becomes longer.

    Args:
        flow: The flow to train, with a :class:`~glow_app.restoration.PictureConditioning`.
        estimate_steps: Number of steps that train the encoder before the flow. If None, two thirds of the run, or 1,000
            if it is limited only by time; 0 if the run starts from a model whose encoder is trained.
        **options: As for :class:`~lightning_modules.image_module.ImageModule`.
    Attributes:
        encoder_steps: The resulting number of steps.
    Raises:
        ValueError: If the flow is not given pictures.
    """

    options_of = ImageModule
    further_figures = ("psnr",)
    encoder_steps: int = 0
    _stored_encoder_steps: int | None = None  # from the checkpoint of a resumed run

    def __init__(self, flow: Glow, estimate_steps: int | None = None, **options: Any) -> None:
        super().__init__(flow, **options)
        self.estimate_steps = estimate_steps

    @property
    def conditioning(self) -> PictureConditioning:
        """The conditioning of the model."""
        return picture_conditioning_of(self.model)

    @property
    def trains_flow(self) -> bool:
        """Whether the encoder is trained, and the flow is being trained."""
        return bool(self.conditioning.encoder.trained)

    def forward(self, images: Tensor, given: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Return bits/dim of each image, (B,): of the flow or, before its part, of a Gaussian around the estimate."""
        if self.trains_flow:
            return super().forward(images, given, generator)
        return estimate_bits(self.model, images, given, generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return bits/dim of a single dequantisation draw, (B,)."""
        bits = super().loss(batch, generator)
        if self.trainer.world_size > 1:  # DDP waits for a gradient of every parameter
            bits = bits + 0.0 * torch.stack([parameter.sum() for parameter in self._idle_parameters()]).sum()
        return bits

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Remove the gradients of the part that is not being trained, which the optimiser would follow even if 0."""
        for parameter in self._idle_parameters():
            parameter.grad = None

    def evaluate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return bits/dim of a single draw, and the PSNR of the encoder's estimate in dB."""
        images, labels = batch
        given = self.conditioning.observe(images, labels, generator)
        if self.trains_flow:
            bits = self.model.bits_per_dim(images, given, generator=generator)
        else:
            bits = self(images, given, generator)
        return {self.metric: bits, "psnr": estimate_psnr(self.model, images, given, generator)}

    def schedule(self, optimizer: Optimizer, total_steps: float) -> LRScheduler:
        """Return the schedules of the two parts in sequence."""
        self.encoder_steps = first = self._first_part()
        if not first:
            return super().schedule(optimizer, total_steps)
        if self._stored_encoder_steps is None:
            self.conditioning.encoder.trained.fill_(False)
        self.length_note = f", the first {first:,} steps for the encoder"
        rates = [group["lr"] for group in optimizer.param_groups]

        def part(steps: float, share: float) -> LRScheduler:
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = group["initial_lr"] = share * rate  # the schedule's base rate
            return self.lr_scheduler(optimizer, total_steps=steps)  # type: ignore[call-arg]

        flow = part(total_steps - first, 1.0)
        encoder = part(first, _ENCODER_RATE)  # created last, since training starts at its rate
        return SequentialLR(optimizer, [encoder, flow], [first])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Reset the principal directions; after the encoder's last step, initialise the flow again.

        It is initialised on differences from the encoder's estimates. Averages copy the reset directions with the other
        buffers.
        """
        if (directions := self._principal_directions) is not None:
            directions.reset()
        if self.trains_flow or self.global_step < self.encoder_steps:
            return
        self.conditioning.encoder.trained.fill_(True)
        for part in self.model.modules():
            if isinstance(part, DataDependentAffine):
                part.forget()
        self.initialize_from_data()
        state = RunState.of(self.trainer)
        if state.best is not None:
            state.best.forget()  # its flow is untrained
        if state.average is not None:
            state.average.begin_anew()

    def on_validation_epoch_start(self) -> None:
        """In the final steps, fit the prior's principal directions to the last latents of training images.

        They are encoded by the weights that are validated, averaged or not, since directions fitted to earlier weights
        make intervals too narrow. Training steps run without the directions, so that the
        flow does not rely on them, because they are the identity for images of other sizes.
        """
        directions = self._principal_directions
        if directions is None or self.trainer.state.fn != "fit" or not self.is_in_final_steps:
            return
        directions.reset()
        latents = torch.cat(list(self._last_latents()))
        # In the order in which a single rank would read all examples.
        gathered: Any = self.all_gather(latents)
        directions.fit(gathered.reshape(-1, *latents.shape).transpose(0, 1).flatten(0, 1))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the length of the first part of the run."""
        super().on_load_checkpoint(checkpoint)
        self._stored_encoder_steps = checkpoint[CHECKPOINT_KEY].get("encoder_steps")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the length of the first part of the run too."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[CHECKPOINT_KEY]["encoder_steps"] = self.encoder_steps

    @property
    def is_in_final_steps(self) -> bool:
        """Whether validation fits the prior: in the last steps of the flow; never in a run limited only by time."""
        return self.trains_flow and self.global_step >= self.trainer.estimated_stepping_batches - self.final_steps

    @property
    def final_steps(self) -> float:
        """Number of steps at the end in which validation fits the prior: a fifth of the flow's."""
        return max(1, _FINAL_FRACTION * (self.trainer.estimated_stepping_batches - self.encoder_steps))

    @property
    def next_command(self) -> str:  # type: ignore[override]
        """The command to continue with after a run."""
        if self.trains_flow:
            return "restore PICTURE --checkpoint {run}"
        return "fit --resume {run} --trainer.max_steps STEPS (its flow is not trained yet)"

    def _first_part(self) -> int:
        """Return the number of steps that train only the encoder."""
        if self._stored_encoder_steps is not None:
            return self._stored_encoder_steps
        total = self.trainer.estimated_stepping_batches
        steps = _ENDLESS_ENCODER_STEPS if math.isinf(total) else total * 2 / 3
        if self.estimate_steps is not None:
            steps = self.estimate_steps
        elif self.trains_flow:
            return 0
        return int(max(1, min(steps, total - 1))) if steps else 0

    def _idle_parameters(self) -> list[Tensor]:
        """Return the parameters that are not being trained: of the encoder's estimate, or all others."""
        encoder = self.conditioning.encoder
        parts = encoder.down, encoder.up, encoder.correction
        estimate: list[Tensor] = [parameter for part in parts for parameter in part.parameters()]
        if self.trains_flow:
            return estimate
        ids = set(map(id, estimate))
        return [parameter for parameter in self.parameters() if id(parameter) not in ids]

    def _last_latents(self) -> Iterator[Tensor]:
        """Yield the last latents of batches of this rank's training images."""
        generator, num_values = self.generator(0, "fit"), 0
        num_batches = math.ceil(_SHARE * self.final_steps) * self.trainer.accumulate_grad_batches
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        for batch in islice(loader, num_batches):
            images, labels = self.transfer_batch_to_device(batch, self.device, 0)
            given = self.conditioning.observe(images, labels, generator)
            yield (latents := last_latent(self.model, images, given, generator))
            num_values += self.trainer.world_size * latents.numel()
            if num_values >= _NUM_VALUES:
                return

    @property
    def _principal_directions(self) -> PrincipalDirections | None:
        prior = self.model.flow.prior
        return prior.principal if isinstance(prior, GaussianPrior) else None


def estimate_bits(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return bits/dim of a Gaussian around the encoder's estimate m, (B,), with the mean squared error as variance.

    .. math:: n + \frac{1}{2} \log_2 (2 \pi e\, (\overline{(y - m)^2} + s^2))

    This is the value expected of images with further noise of a standard deviation s of 4 grey levels.
    """
    error = model.dequantised(images, generator) - picture_conditioning_of(model).estimate(given)
    return model.num_bits + (2 * math.pi * math.e * (error.square().flatten(1).mean(1) + _NOISE**2)).log2() / 2


def estimate_psnr(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return the PSNR of the encoder's estimate m in dB, (B,): :math:`-10 \log_{10} \overline{(y - m)^2}`.

    It covers all pixels, including those that a mask marks as known; m is clamped to the range of images. The noise of
    y limits the PSNR to 59 dB with 8 bits.
    """
    y, estimate = model.dequantised(images, generator), picture_conditioning_of(model).estimate(given)
    return -10 * (y - estimate.clamp(-0.5, 0.5)).square().flatten(1).mean(1).log10()


@torch.no_grad()
def last_latent(model: ImageModel, images: Tensor, given: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return the last latent of a dequantisation draw, (B, C_L, H_L, W_L), in full precision."""
    context = model.context(given, len(images))
    with full_precision(model.device):
        return model.flow.encode(model.dequantised(images, generator), context)[-1]


class RestorationGrids(SampleGrids):
    """Writes grids whose columns are validation images; rows are the original, the damaged image, and two draws."""

    def draw(self, trainer: pl.Trainer, model: ImageModel) -> Image.Image:
        """Return the grid."""
        examples = trainer.datamodule.examples("validation")  # type: ignore[attr-defined]
        images = torch.from_numpy(examples.head(max(1, self.num_images // 4)))
        labels = examples.labels[: len(images)]
        given = picture_conditioning_of(model).observe(images, labels, step_generator(0, 0, "cpu", "damage"))
        settings = draw_settings(model, self.temperature)
        draws = draw(model, range(2 * len(images)), settings, torch.cat([given, given]))
        return grid(torch.cat([images, base_picture(given, images.shape[1]), draws.cpu()]), len(images))
