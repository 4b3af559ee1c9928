"""The image model: uint8 images in, uint8 images out."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from glow_app.bijections import full_precision, held_noise
from glow_app.flows import Context, Glow
from glow_app.likelihood import (
    bin_centres,
    bits_per_dim,
    check_num_bits,
    dequantise,
    quantise,
    to_uint8,
)
from glow_app.models.bits_table import BitsTable
from glow_app.models.class_labels import Labels, as_labels
from glow_app.models.sampled_model import SampledModel
from glow_app.nn.class_path import describe_part
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.running import Memory, choose_runners, fold_flow, images_at_a_time
from glow_app.tasks import RestorationTask

__all__ = ["ImageModel"]


class ImageModel(SampledModel):
    r"""A flow with quantisation and dequantisation: a probability for every uint8 image.

    Args:
        flow: The flow on real images in :math:`[-1/2, 1/2)`.
        num_bits: High bits of each value that are modelled, 1 to 8.
        task: For a flow with a condition: the damage that the model learns to undo.
    Shape:
        images: (B, C, H, W), uint8; labels: (B,), int64, or None; condition: (B, E, H, W), uint8, of a model with a
        task, which takes images of any size, or (1, E, H, W), one for all images, or None; latents: a list of
        (B, C_l, H_l, W_l).
    Raises:
        ValueError: If ``num_bits`` is not 1 to 8, the flow does not take the condition of the task, or images have the
            wrong type or shape.
    """

    unit = "bits/dim"
    things = "images"

    def __init__(self, flow: Glow, num_bits: int = 8, task: RestorationTask | None = None) -> None:
        super().__init__()
        expected = 0 if task is None else task.condition_channels(flow.image_shape[0])
        if flow.condition_channels != expected:
            whose = "without a task" if task is None else f"for {type(task).__name__}"
            raise ValueError(
                f"condition_channels of the flow is {flow.condition_channels}; expected {expected} {whose}"
            )
        self.flow, self.task = flow, task
        self.set_runners()
        self._folded: list[Glow] = []  # a list, so that it is not registered as a submodule
        self.num_bits = check_num_bits(num_bits)
        # CPU convolutions are up to six times as fast in channels_last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def num_dims(self) -> int:
        """The dimension :math:`D = C H W` of an image."""
        return math.prod(self.flow.image_shape)

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, from which the model is rebuilt."""
        config: dict[str, object] = {"num_bits": self.num_bits, "flow": self.flow.config}
        return config if self.task is None else config | {"task": describe_part(self.task)}

    def set_runners(self, memory: Memory = "store", compiled: bool = False) -> None:
        """Select how training evaluates the levels; see :func:`~glow_app.running.choose_runners`."""
        choose_runners(self.flow, memory, compiled)
        self.memory, self.compiled = memory, compiled

    def freeze(self) -> Self:
        """Precompute quantities that depend on the weights alone, such as inverse matrices, and return the model.

        Results are the same to the last bit, in less time, and the model cannot be trained. Loading or moving the
        weights ends it; they must not be changed in any other way.
        """
        self.eval().requires_grad_(False)
        self._folded = [fold_flow(self.flow)]
        return self

    @property
    def fastest_flow(self) -> Glow:
        """The flow in use: with folded weights after :meth:`freeze` if gradients are disabled."""
        return self._folded[0] if self._folded and not torch.is_grad_enabled() else self.flow

    def initialize(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> None:
        """Initialise the data-dependent parameters from one batch; does nothing in an initialised model."""
        context = self._context(images, labels, condition=condition)
        self.flow.initialize(self.dequantised(images, generator), context)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """Return bits/dim of one dequantisation draw, (B,): the loss, in ``forward`` as DDP needs it."""
        y, context = self.dequantised(images, generator), self._context(images, labels, condition=condition)
        return bits_per_dim(self.fastest_flow.log_prob(y, context), y[0].numel(), self.num_bits)

    def condition(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Return the condition of clean images, damaged at random by the task, (B, E, H, W); None without a task."""
        return None if self.task is None else self.task.condition(self.task.damage(images, generator))

    @torch.no_grad()
    def bits_per_dim(
        self,
        images: Pictures,
        labels: Labels | None = None,
        num_draws: int = 1,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        r"""Return bits per dimension of each image, (B,).

        .. math:: -\frac{1}{D} \log_2 \frac{1}{K} \sum_{k=1}^K \frac{p(y_k)}{2^{nD}},
                  \qquad p(y) = \frac{1}{M} \sum_{c=1}^M p(y \mid c)

        With one draw this is the figure of the literature; more draws give a tighter upper bound. With labels, a
        class-conditional model uses :math:`p(y \mid c)`; without them, the marginal :math:`p(y)` over its M classes,
        taken as equally frequent, with the same noise for each.

        Args:
            images: uint8 (B, C, H, W), or pictures as of :func:`~glow_app.pictures.inputs.as_images`.
            labels: Classes of the images by number or name, one for all or one per image, for a class-conditional
                model; averaged over all classes if omitted.
            num_draws: Number K of dequantisation draws.
            generator: Generator of the dequantisation noise, on the images' device.
            condition: For a model with a task: the result is :math:`-\log_2 p(y \mid c) / D` of the condition c.

        Raises:
            ValueError: If ``num_draws`` is below 1.
        """
        return self.bits_table(images, labels, num_draws, generator, condition).bits_per_dim

    @torch.no_grad()
    def bits_table(
        self,
        images: Pictures,
        labels: Labels | None = None,
        num_draws: int = 1,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> BitsTable:
        """Return the bits per draw, class and level; with labels, for those classes alone.

        Arguments as of :meth:`bits_per_dim`.
        """
        if num_draws < 1:
            raise ValueError(f"num_draws is {num_draws}; expected at least 1")
        images = as_images(images, self.flow.image_shape).to(self.device)
        draws = []
        with held_noise(self.device) as rewind:
            for _ in range(num_draws):
                y, classes = self.dequantised(images, generator), []
                for chosen in self.label_choices(len(images), labels):
                    rewind()
                    classes.append(self.dequantised_level_bits(y, chosen, condition))
                draws.append(torch.stack(classes))
        return BitsTable(torch.stack(draws), images[0].numel())

    @torch.no_grad()
    def level_bits(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        r"""Return the bits/dim of one draw per level, (B, L), the finest first; their sum is the bits/dim.

        .. math:: b_l = \frac{n D_l}{D} - \frac{\log \mathcal N(z_l; 0, I) + \log|\det J_l|}{D \log 2}

        Args:
            images: uint8.
            labels: For a class-conditional model.
            generator: Generator of the dequantisation noise, on the images' device.
            condition: For a model with a task.
        """
        return self.dequantised_level_bits(self.dequantised(images, generator), labels, condition)

    @torch.no_grad()
    def dequantised_level_bits(self, y: Tensor, labels: Tensor | None, condition: Tensor | None = None) -> Tensor:
        """Return :meth:`level_bits` of images from :meth:`dequantised`."""
        log_probs = self.fastest_flow.level_log_probs(y, self._context(y, labels, condition=condition))
        num_dims = y[0].numel()
        shapes = self.flow.latent_shapes_at(*y.shape[2:])
        sizes = torch.tensor([math.prod(shape) for shape in shapes]).to(log_probs)
        return self.num_bits * sizes / num_dims - log_probs / (num_dims * math.log(2))

    def label_choices(self, num: int, labels: Labels | None) -> list[Tensor | None]:
        """Return the labels that :meth:`bits_table` scores ``num`` images by: those given, or each class in turn."""
        if labels is not None or self.flow.num_classes is None:
            return [as_labels(self, labels, num)]
        return [torch.full((num,), number) for number in range(self.flow.num_classes)]

    def dequantised(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the images as the flow sees them, with dequantisation noise."""
        return dequantise(self._levels(images), self.num_bits, self.dtype, generator)

    @torch.no_grad()
    def encode(self, images: Pictures, labels: Labels | None = None, condition: Tensor | None = None) -> list[Tensor]:
        """Return the whitened latents of the images' bin centres, one tensor per level.

        Images and labels are as of :meth:`bits_per_dim`; a class-conditional model needs labels.

        In full precision, whatever the autocast state, as :meth:`decode`: a state differs in its last bit between the
        two directions, which bfloat16 conditioners may round to another value, and later steps amplify that.
        """
        images = as_images(images, self.flow.image_shape).to(self.device)
        y = bin_centres(self._levels(images), self.num_bits, self.dtype)
        with full_precision(self.device):
            return self.fastest_flow.encode(y, self._context(images, labels, condition=condition))

    def decode(
        self,
        latents: Sequence[Tensor],
        labels: Labels | None = None,
        context: Context = None,
        condition: Tensor | None = None,
    ) -> Images:
        """Return the uint8 images of ``latents``; ``decode(encode(images))`` equals the (quantised) images.

        Args:
            latents: One tensor per level.
            labels: For a class-conditional model.
            context: Instead of labels and condition: :meth:`Glow.context <glow_app.flows.Glow.context>`, or a mixture.
            condition: For a model with a task.
        Raises:
            FloatingPointError: If an image is not finite.
        """
        return Images(to_uint8(self.decode_values(latents, labels, context, condition), self.num_bits))

    @torch.no_grad()
    def decode_values(
        self, latents: Sequence[Tensor], labels: Labels | None, context: Context, condition: Tensor | None
    ) -> Tensor:
        """Return the images of :meth:`decode` before clipping and rounding; [-1/2, 1/2) are black to white."""
        num, size = len(latents[0]), len(latents[0])
        with full_precision(self.device):
            if context is None:
                context = self._context(latents[0], labels, condition=condition)
            if self.device.type == "cpu":
                _, _, height, width = latents[0].shape
                size = images_at_a_time(self.flow.hidden_channels, (1, 2 * height, 2 * width))
            parts = [slice(start, start + size) for start in range(0, num, size)]
            images = torch.cat(
                [self.fastest_flow.decode([level[rows] for level in latents], _rows(context, rows)) for rows in parts]
            )
        # Converted to uint8 they would be black, and look like samples of the model.
        if broken := int((~images.isfinite()).flatten(1).any(1).sum()):
            raise FloatingPointError(
                f"{broken} of {len(images)} images are not finite; lower the temperature or the strength, or use "
                "another checkpoint"
            )
        return images

    def quantised(self, images: Tensor) -> Tensor:
        """Return the uint8 images reduced to ``num_bits`` bits, as :meth:`decode` returns them."""
        return to_uint8(bin_centres(quantise(images, self.num_bits), self.num_bits), self.num_bits)

    def _levels(self, images: Tensor) -> Tensor:
        """Return the quantised images; without a task, only of the flow's own size."""
        levels = quantise(images, self.num_bits)
        if self.task is None and levels.shape[1:] != self.flow.image_shape:
            shape = ", ".join(map(str, self.flow.image_shape))
            raise ValueError(f"this model is for images of shape (B, {shape}), got {tuple(levels.shape)}")
        return levels

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._folded = []
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._folded = []
        super()._load_from_state_dict(*arguments, **options)


def _rows(context: Context, rows: slice) -> Context:
    if context is None or isinstance(context, Tensor):
        return None if context is None else context[rows]
    return [feature_map if len(feature_map) == 1 else feature_map[rows] for feature_map in context]
