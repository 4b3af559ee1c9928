"""Lightning module that trains an image model."""

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.running import Memory
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from lightning_modules.image_data import ImageDataModule
from lightning_modules.likelihood_module import LikelihoodModule

Batch = tuple[Tensor, Tensor]


class ImageModule(LikelihoodModule):
    r"""Maximum likelihood on images: minimises the bits/dim of a single dequantisation draw.

    Args:
        flow: The flow to train.
        num_bits: Number of most significant bits of the images that are modelled, 1 to 8.
        num_draws: Number of dequantisation draws in validation and test; 1 is usual in the literature.
        memory: Activations kept for the backward pass: "store" keeps all, "checkpoint" the input of each step,
            "reversible" the input and output of each level; see :func:`~glow_app.running.choose_runners`.
        compile: Whether to compile the training pass of the levels with ``torch.compile``. Compilation takes about a
            minute; on a CPU it needs a C++ compiler.
        **options: As for :class:`~lightning_modules.likelihood_module.LikelihoodModule`.
    Shape:
        A batch is images, uint8 (B, C, H, W), and labels, int64 (B,), which an unconditional flow ignores.
    Raises:
        ValueError: If the flow's conditioning is trained by another kind of run.
    """

    training_kind: ClassVar[str] = "images"
    metric = "bpd"
    next_command = "sample --checkpoint {run}"
    model: ImageModel

    def __init__(
        self,
        flow: Glow,
        num_bits: int = 8,
        num_draws: int = 1,
        memory: Memory = "store",
        compile: bool = False,
        **options: Any,
    ) -> None:
        if (needed := flow.conditioning.training_kind) != self.training_kind:
            raise ValueError(
                f"a run of kind {self.training_kind} cannot train a flow with {type(flow.conditioning).__name__}; pass "
                f"--kind {needed}, or choose another conditioning"
            )
        super().__init__(ImageModel(flow, num_bits), **options)
        self.num_draws = num_draws
        self.model.set_runners(memory, compile)

    def setup(self, stage: str) -> None:
        """Let the model's conditioning adopt what the data says, such as class names; ValueError if it cannot."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, ImageDataModule):
            with warnings.catch_warnings(action="ignore" if self.global_rank else None):
                self.model.conditioning.adopt(data.examples("train"))

    def forward(self, images: Tensor, given: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """Return bits/dim of each image, (B,)."""
        return self.model(images, given, generator)

    def initialize(self, batch: Batch, generator: torch.Generator) -> None:
        """Set the actnorms from a batch."""
        images, labels = batch
        self.model.initialize(images, self.model.conditioning.observe(images, labels, generator), generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return bits/dim of a single dequantisation draw, given what is known about the images."""
        images, labels = batch
        return self(images, self.model.conditioning.observe(images, labels, generator), generator)

    def evaluate(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return bits/dim of ``num_draws`` draws; of the marginal over all values unless :attr:`knows_labels`."""
        images, labels = batch
        given = self.model.conditioning.observe(images, labels, generator) if self.knows_labels else None
        return {self.metric: self.model.bits_per_dim(images, given, self.num_draws, generator)}

    @property
    def knows_labels(self) -> bool:
        """Whether the labels of the data are those that the model knows; in an unlabelled folder, all labels are 0."""
        data = getattr(self.trainer, "datamodule", None)
        return not isinstance(data, ImageDataModule) or self.model.conditioning.knows(data.any_examples)

    @property
    def details(self) -> str:
        """What a report of bits/dim adds to their description."""
        num_values = len(self.model.conditioning.values)
        return "" if self.knows_labels else f", labels unknown: averaged over {num_values} values"

    def report_lines(self, figures: dict[str, float]) -> list[str]:
        """Return the lines that a report adds to bits/dim; none."""
        return []

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore what an earlier part of the run has adopted from its data."""
        super().on_load_checkpoint(checkpoint)
        self.model.conditioning.load_facts(checkpoint[CHECKPOINT_KEY]["training"])
