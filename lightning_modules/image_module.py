"""Lightning module that trains an image model."""

import math
from typing import Any

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory, check_compiler
from glow_app.seeding import share_of
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from glow_app.tasks import RestorationTask
from lightning_modules.encoder_first import EncoderFirst
from lightning_modules.image_data import ImageDataModule
from lightning_modules.likelihood_module import OptimizerFactory, ScheduleFactory
from lightning_modules.schedules import LinearWarmupCosine

Batch = tuple[Tensor, Tensor]

_IMAGES_PER_ZERO_DRAW = 16


class DensityModule(EncoderFirst):
    r"""Maximum likelihood on images: minimises the bits/dim of a single dequantisation draw.

    Args:
        flow: The flow to train.
        num_bits: Number of most significant bits of the images that are modelled, 1 to 8.
        optimizer: Called with the parameters. The encoder of a condition is trained with 0.3 of its learning rate.
        lr_scheduler: Called with the optimiser and the number of steps of the whole run; stepped every step.
        seed: Seed of dequantisation noise and damage.
        num_draws: Number of dequantisation draws in ``validate`` and ``test``; 1 is usual in the literature.
        memory: Activations kept for the backward pass: "store" keeps all, "checkpoint" the input of each step,
            "reversible" the input and output of each level; see :func:`~glow_app.running.choose_runners`.
        compile: Whether to compile the training pass of the levels with ``torch.compile``. Compilation takes about a
            minute; on a CPU it needs a C++ compiler.
        task: How images are damaged, for a flow with a condition.
        estimate_steps: Number of steps that train the encoder of a condition before the flow; 0 if it is trained. If
            None, two thirds of the run, or 1,000 if only time limits it.
    Shape:
        A batch is images, uint8 (B, C, H, W), and labels, int64 (B,), which an unconditional flow ignores.
    """

    metric = "bpd"
    model: ImageModel

    def __init__(
        self,
        flow: Glow,
        num_bits: int = 8,
        optimizer: OptimizerFactory = torch.optim.Adam,
        lr_scheduler: ScheduleFactory = LinearWarmupCosine,
        seed: int = 0,
        num_draws: int = 1,
        memory: Memory = "store",
        compile: bool = False,
        task: RestorationTask | None = None,
        estimate_steps: int | None = None,
    ) -> None:
        super().__init__(ImageModel(flow, num_bits, task), optimizer, lr_scheduler, seed)
        self.num_draws, self.estimate_steps = num_draws, estimate_steps
        self.model.set_runners(memory, compile)

    def setup(self, stage: str) -> None:
        """Check the compiler and the number of classes; copy the class names to the model.

        Raises:
            ValueError: If the numbers of classes differ, or compilation is requested without a compiler.
        """
        super().setup(stage)
        if self.model.compiled:
            check_compiler(self.device)
        data, expected = getattr(self.trainer, "datamodule", None), self.model.flow.num_classes
        if stage != "fit" or expected is None or not isinstance(data, ImageDataModule):
            return
        if data.num_classes != expected:
            names = ", ".join(data.class_names[:10]) or "none in a flat folder"
            raise ValueError(
                f"model.flow.num_classes is {expected}, but the images have {data.num_classes} classes ({names})"
            )
        self.model.class_names = data.class_names
        counts = torch.bincount(data.examples("train").labels, minlength=expected).tolist()
        if missing := [name for name, count in zip(data.class_names, counts, strict=True) if not count]:
            names = ", ".join(missing[:10]) + (", ..." if len(missing) > 10 else "")
            rank_zero_warn(
                f"classes without a picture to train on, whose samples will be noise: {names}; add pictures or leave "
                "these out"
            )

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """Return bits/dim of each image, (B,)."""
        return self.model(images, labels, generator, condition)

    def initialize(self, batch: Batch, generator: torch.Generator) -> None:
        """Set the actnorms from a batch."""
        images, labels = batch
        self.model.initialize(images, labels, generator, self.model.condition(images, generator))

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return bits/dim of a single dequantisation draw.

        While a flow with a condition :attr:`settles`, the gradient, but not the value, of
        :meth:`~glow_app.models.image_model.ImageModel.zero_draw_bits` of a sixteenth of all ranks' images is added.
        """
        images, labels = batch
        condition = self.model.condition(images, generator)
        bits = self(images, labels, generator, condition)
        if condition is None or not self.settles:
            return bits
        share = share_of(generator)
        num_images = len(images) * share.num_ranks // _IMAGES_PER_ZERO_DRAW or 1
        # Every rank evaluates the same number of images, and may use fewer.
        rows = slice(math.ceil(num_images / share.num_ranks))
        own = slice(len(range(share.rank, num_images, share.num_ranks)))
        errors = self.model.zero_draw_bits(images[rows], labels[rows], generator, condition[rows])[own]
        error = errors.sum() * share.num_ranks / num_images
        return bits + (error - error.detach())

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures that :meth:`evaluate` returns."""
        return super().figures if self.model.task is None else (self.metric, "psnr", "loss")

    @property
    def monitor(self) -> str:
        """The metric that chooses the best checkpoint: bits/dim or, with a task, the loss."""
        return super().monitor if self.model.task is None else "val/loss"

    def evaluate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        r"""Return bits/dim of ``num_draws`` draws; of the marginal over classes unless :attr:`knows_labels`.

        With a condition, also return the PSNR of draws at temperature 0, in dB, and the loss: bits/dim plus, up to a
        constant, those of a Gaussian around these draws, :math:`\mathrm{bpd} - \mathrm{psnr} \log_2(10) / 20`.
        """
        images, labels = batch
        classes, condition = labels if self.knows_labels else None, self.model.condition(images, generator)
        if self.model.trains_flow:
            bits = self.model.bits_per_dim(images, classes, self.num_draws, generator, condition)
        else:
            bits = self(images, classes, generator, condition)
        if condition is None:
            return {self.metric: bits}
        psnr = self.model.zero_draw_psnr(images, classes, generator, condition)
        return {self.metric: bits, "psnr": psnr, "loss": bits - psnr * math.log2(10) / 20}

    @property
    def knows_labels(self) -> bool:
        """Whether the labels are those of the model's classes; in an unlabelled folder, all labels are 0."""
        data, expected = getattr(self.trainer, "datamodule", None), self.model.flow.num_classes
        if expected is None or not isinstance(data, ImageDataModule):
            return True
        names = data.class_names
        return len(names) == expected and self.model.class_names in ((), names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the class names from the checkpoint if the data has none; warn if the data's names differ."""
        super().on_load_checkpoint(checkpoint)
        names = tuple(checkpoint[CHECKPOINT_KEY]["training"].get("classes", ()))
        if not self.model.class_names:
            self.model.class_names = names
        elif names and names != self.model.class_names:
            first = next(pair for pair in zip(names, self.model.class_names, strict=True) if pair[0] != pair[1])
            rank_zero_warn(f"class {first[0]!r} of the run is now {first[1]!r}; classes are matched by number")
