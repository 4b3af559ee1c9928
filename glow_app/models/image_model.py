"""The image model: uint8 images in, uint8 images out."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.flows import Glow
from glow_app.flows.context import Context
from glow_app.likelihood import bits_per_dim, dequantise, quantise, standard_normal_log_density
from glow_app.models.scored_model import ScoredModel
from glow_app.nn.class_path import describe_part
from glow_app.running import Memory, choose_runners
from glow_app.tasks import RestorationTask

__all__ = ["ImageModel"]

# One of so many images of a training batch has its estimate centred. A draw at temperature 0 of a model that enlarges
# CIFAR-10 twice is then 0.01 dB below the estimate, without it 0.2 dB; a step takes 6 % longer.
_PER_CENTRED = 16


class ImageModel(ScoredModel):
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
        whose = "without a task" if task is None else f"for {type(task).__name__}"
        if flow.condition_channels != expected:
            raise ValueError(
                f"condition_channels of the flow is {flow.condition_channels}; expected {expected} {whose}"
            )
        needs_mask = task is not None and "mask" in task.takes
        if flow.condition_mask != needs_mask:
            raise ValueError(f"condition_mask of the flow is {flow.condition_mask}; expected {needs_mask} {whose}")
        if not isinstance(num_bits, int) or not 1 <= num_bits <= 8:
            raise ValueError(f"num_bits is {num_bits}; expected a whole number from 1 to 8")
        self.flow, self.num_bits, self.task = flow, num_bits, task
        self.set_runners()
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

    def initialize(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> None:
        """Initialise the data-dependent parameters from one batch; does nothing in an initialised model."""
        context = self._context(len(images), labels, condition)
        self.flow.initialize(self.dequantised(images, generator), context)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        r"""Return bits/dim of one dequantisation draw, (B,): the loss, in ``forward`` as DDP needs it.

        While the encoder of a condition is not trained, they are those of a Gaussian around its estimate m, with the
        variance of each image's own error: :math:`n + \frac{1}{2} \log_2 (2 \pi e\, \overline{(y - m)^2})`. From then
        on, in training mode, their gradient is also that of the mean of :math:`|F(m)|^2 / (2 D \log 2)` over one of 16
        images, F being the flow: a draw at temperature 0, :math:`F^{-1}(0)`, stays near the estimate.
        """
        y = self.dequantised(images, generator)
        if (encoder := self.flow.encoder) is not None and not encoder.trained:
            error = (y - encoder.estimate(self._real_condition(condition, len(y)))).square().flatten(1).mean(1)
            return self.num_bits + (2 * math.pi * math.e * error).log2() / 2
        context = self._context(len(images), labels, condition)
        if encoder is not None and self.training:
            return self._bits_and_centring(y, context)
        return bits_per_dim(self.fastest_flow.log_prob(y, context), y[0].numel(), self.num_bits)

    def _bits_and_centring(self, y: Tensor, context: Context) -> Tensor:
        """Return bits/dim of ``y`` whose gradient also moves the latents of some estimates towards 0."""
        assert isinstance(context, list)
        num, num_dims = len(y), y[0].numel()
        # The first ones: on several ranks they are those of one rank with the same batch.
        num_centred = num // _PER_CENTRED or 1
        maps = [torch.cat([each, each[:num_centred]]) for each in (level.expand(num, -1, -1, -1) for level in context)]
        estimates = F.pixel_shuffle(maps[0][num:, : 4 * y.shape[1]], 2)
        latents, log_det = self.flow(torch.cat([y, estimates.to(y.dtype)]), maps)
        log_density = standard_normal_log_density(latents)
        bits = bits_per_dim(log_density[:num] + log_det[:num], num_dims, self.num_bits)
        energy = bits_per_dim(log_density[num:], num_dims, 0).mean()
        return bits + (energy - energy.detach())  # whose value is that of the images

    @property
    def trains_flow(self) -> bool:
        """Whether ``forward`` is that of the flow, and not of an encoder that is still to be trained."""
        return self.flow.encoder is None or bool(self.flow.encoder.trained)

    def condition(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Return the condition of clean images, damaged at random by the task, (B, E, H, W); None without a task."""
        return None if self.task is None else self.task.condition(self.task.damage(images, generator))

    def dequantised(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the images as the flow sees them, with dequantisation noise."""
        return dequantise(self._levels(images), self.num_bits, self.dtype, generator)

    def _levels(self, images: Tensor) -> Tensor:
        """Return the quantised images; without a task, only of the flow's own size."""
        levels = quantise(images, self.num_bits)
        if self.task is None and levels.shape[1:] != self.flow.image_shape:
            shape = ", ".join(map(str, self.flow.image_shape))
            raise ValueError(f"this model is for images of shape (B, {shape}), got {tuple(levels.shape)}")
        return levels
