"""Lightning module that trains an image model."""

import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from glow_app.conditioning import AttributeConditioning
from glow_app.flows import Glow, WaveletFlow
from glow_app.likelihood import bits_per_dim
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import rows_of
from glow_app.restoration import PictureConditioning
from glow_app.running import Memory
from glow_app.seeding import draw_rows
from glow_app.storage.checkpoint import CHECKPOINT_KEY
from lightning_modules.image_data import ImageDataModule
from lightning_modules.likelihood_module import LikelihoodModule

Batch = tuple[Tensor, Tensor]

_MARGIN, _SOFTNESS = 50.0, 10.0  # of the contrastive term, nats
# Of the reader's loss: the flow's gradients alone decide the clipping; steps of Adam and Muon do not depend on it.
_READING = 0.01


class ImageModule(LikelihoodModule):
    r"""Maximum likelihood on images: minimises the bits/dim of a single dequantisation draw.

    Args:
        num_bits: Number of most significant bits of the images that are modelled, 1 to 8.
        memory: Activations kept for the backward pass: "store" keeps all, "checkpoint" the input of each
            step; see :func:`~glow_app.running.choose_runners`.
        compile: Whether to compile the training pass of the levels with ``torch.compile``. Compilation takes about a
            minute; on a CPU it needs a C++ compiler.
        contrast: Weight of the contrastive term of attributes, see :meth:`loss`; a step takes twice as long with it.
        **options: As for :class:`~lightning_modules.likelihood_module.LikelihoodModule`.
    Shape:
        A batch is images, uint8 (B, C, H, W), and labels, (B,) or (B, A), which an unconditional flow ignores.
    Raises:
        ValueError: If the flow's conditioning is trained by another kind of run, or there is a contrast without
            attributes.
    """

    training_kind: ClassVar[str] = "images"
    metric = "bpd"
    next_command = "sample --checkpoint {run}"
    model: ImageModel

    def __init__(
        self,
        flow: Glow | WaveletFlow,
        num_bits: int = 8,
        memory: Memory = "store",
        compile: bool = False,
        contrast: float = 0.0,
        **options: Any,
    ) -> None:
        needed = "restoration" if isinstance(flow.conditioning, PictureConditioning) else "images"
        if needed != self.training_kind:
            raise ValueError(
                f"a run of kind {self.training_kind} cannot train a flow with {type(flow.conditioning).__name__}; pass "
                f"--kind {needed}, or choose another conditioning"
            )
        if contrast and not isinstance(flow.conditioning, AttributeConditioning):
            raise ValueError(
                f"model.contrast is {contrast}, but the flow is given no attributes; pass data.attributes or 0"
            )
        super().__init__(ImageModel(flow, num_bits), **options)
        self.contrast = contrast
        self.model.set_runners(memory, compile)

    def setup(self, stage: str) -> None:
        """Let the model's vocabulary learn from the data, such as class names; raise ValueError if it cannot."""
        super().setup(stage)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, ImageDataModule):
            with warnings.catch_warnings(action="ignore" if self.global_rank else None):
                self.model.vocabulary.learn(data.examples("train"))

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
