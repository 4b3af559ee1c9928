"""The image model, from uint8 images to latents and back."""

import math

import torch
from torch import Tensor

from glow_app.bijections import full_precision, held_noise
from glow_app.flows import Glow
from glow_app.likelihood import bits_per_dim, dequantise, quantise
from glow_app.models.bits_table import BitsTable
from glow_app.models.class_labels import Labels, as_labels
from glow_app.models.sampled_model import SampledModel
from glow_app.nn.class_path import describe_part
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.running import Memory, choose_runners
from glow_app.tasks import RestorationTask


class ImageModel(SampledModel):
    r"""A flow with quantisation and dequantisation: a probability for every uint8 image.

    Args:
        flow: The flow on real images in :math:`[-1/2, 1/2)`.
        num_bits: Number of high bits of each value to model, 1 to 8.
        task: For a flow with a condition: the damage that the model learns to undo.
    Shape:
        images: (B, C, H, W), uint8, of any size if the model has a task; labels: (B,), int64, or None; condition:
        (B, E, H, W), uint8, or (1, E, H, W) for all images, if the model has a task, otherwise None; latents: a list
        of (B, C_l, H_l, W_l).
    Raises:
        ValueError: If ``num_bits`` is not 1 to 8, the flow does not take the condition of the task, or images have the
            wrong type or shape.
    """

    unit = "bits/dim"
    things = "images"

    def __init__(self, flow: Glow, num_bits: int = 8, task: RestorationTask | None = None) -> None:
        super().__init__()
        channels = 0 if task is None else task.condition_channels(flow.image_shape[0])
        expected = {"condition_channels": channels, "condition_mask": task is not None and "mask" in task.takes}
        for name, value in expected.items():
            if getattr(flow, name) != value:
                whose = "without a task" if task is None else f"for {type(task).__name__}"
                raise ValueError(f"{name} of the flow is {getattr(flow, name)}; expected {value} {whose}")
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
        """Initialise the data-dependent parameters from a batch; does nothing in an initialised model."""
        context = self._context(len(images), labels, condition)
        self.flow.initialize(self.dequantised(images, generator), context)

    def forward(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        r"""Return bits/dim of a dequantisation draw, (B,): the loss, in ``forward`` because DDP requires it.

        While the encoder of a condition is still to be trained, bits/dim are those of a Gaussian around its estimate m,
        with the mean squared error of the image as variance:
        :math:`n + \frac{1}{2} \log_2 (2 \pi e\, \overline{(y - m)^2})`.
        """
        y = self.dequantised(images, generator)
        if (encoder := self.flow.encoder) is not None and not encoder.trained:
            return self._bits_of((y - encoder.estimate(self._real_condition(condition, len(y)))).square())
        context = self._context(len(images), labels, condition)
        return bits_per_dim(self.fastest_flow.log_prob(y, context), y[0].numel(), self.num_bits)

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

        With one draw, this is the value reported in the literature; more draws give a tighter upper bound. With labels,
        a class-conditional model uses :math:`p(y \mid c)`; without labels, the marginal :math:`p(y)` over its M
        classes, assumed equally frequent, with the same noise for each.

        Args:
            images: uint8 (B, C, H, W), or pictures as for :func:`~glow_app.pictures.inputs.as_images`.
            labels: For a class-conditional model, the class of all images, by number or name, or one per image; if
                None, all classes are averaged over.
            num_draws: Number K of dequantisation draws.
            generator: Generator of the dequantisation noise, on the images' device. Its state also determines the noise
                in the trace estimates of a continuous prior.
            condition: For a model with a task: :math:`p` is the density given this condition.
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
        """Return the bits by draw, class and level; with labels, only for these classes; as :meth:`bits_per_dim`."""
        if num_draws < 1:
            raise ValueError(f"num_draws is {num_draws}; expected at least 1")
        images = as_images(images, self.flow.image_shape).to(self.device)
        draws = []
        with held_noise(self.device, generator) as rewind:
            for _ in range(num_draws):
                y, classes = self.dequantised(images, generator), []
                for choice in self.label_choices(len(images), labels):
                    rewind()
                    classes.append(self.dequantised_level_bits(y, choice, condition))
                draws.append(torch.stack(classes))
        return BitsTable(torch.stack(draws), images[0].numel())

    @torch.no_grad()
    def dequantised_level_bits(self, y: Tensor, labels: Tensor | None, condition: Tensor | None = None) -> Tensor:
        r"""Return the bits/dim per level of :meth:`dequantised` images, (B, L), finest first; the sum is the bits/dim.

        .. math:: b_l = \frac{n D_l}{D} - \frac{\log \mathcal N(z_l; 0, I) + \log|\det J_l|}{D \log 2}
        """
        log_probs = self.fastest_flow.level_log_probs(y, self._context(len(y), labels, condition))
        num_dims = y[0].numel()
        shapes = self.flow.latent_shapes_at(*y.shape[2:])
        sizes = torch.tensor([math.prod(shape) for shape in shapes]).to(log_probs)
        return self.num_bits * sizes / num_dims - log_probs / (num_dims * math.log(2))

    def label_choices(self, num: int, labels: Labels | None) -> list[Tensor | None]:
        """Return the labels for which :meth:`bits_table` scores ``num`` images: ``labels``, or each class in turn."""
        if labels is not None or self.flow.num_classes is None:
            return [as_labels(self, labels, num)]
        return [torch.full((num,), number) for number in range(self.flow.num_classes)]

    @torch.no_grad()
    def last_latent(
        self, images: Tensor, labels: Tensor | None, generator: torch.Generator | None, condition: Tensor | None
    ) -> Tensor:
        """Return the last latent of a dequantisation draw, (B, C_L, H_L, W_L), in full precision."""
        with full_precision(self.device):
            context = self._context(len(images), labels, condition)
            return self.flow.encode(self.dequantised(images, generator), context)[-1]

    def zero_draw_bits(
        self, images: Tensor, labels: Tensor | None, generator: torch.Generator | None, condition: Tensor
    ) -> Tensor:
        r"""Return bits/dim of a Gaussian around the draw d at temperature 0, (B,).

        As in :meth:`forward`, but with the expected squared error of d if the estimate m is the mean of y:
        :math:`(y - m)^2 + (d - m)^2`. Unlike :math:`(y - d)^2`, it has zero gradient at d = m for every y.
        """
        y = self.dequantised(images, generator)
        assert self.flow.encoder is not None
        with torch.no_grad():
            mean = self.flow.encoder.estimate(self._real_condition(condition, len(y)))
        return self._bits_of((y - mean).square() + (self._zero_draw(y, labels, condition) - mean).square())

    def zero_draw_psnr(
        self, images: Tensor, labels: Tensor | None, generator: torch.Generator | None, condition: Tensor
    ) -> Tensor:
        r"""Return the PSNR of the draw d at temperature 0 in dB, (B,): :math:`-10 \log_{10} \overline{(y - d)^2}`.

        It covers all pixels, including those that a mask marks as known, before the task restores known values; d is
        clamped to the range of images. The noise of y limits the PSNR to 59 dB with 8 bits. Without labels, it is the
        mean over all classes. While the encoder of a condition is still to be trained, d is its estimate.
        """
        y = self.dequantised(images, generator)
        assert self.flow.encoder is not None
        if self.trains_flow:
            draws = [self._zero_draw(y, choice, condition) for choice in self.label_choices(len(y), labels)]
        else:
            draws = [self.flow.encoder.estimate(self._real_condition(condition, len(y)))]
        errors = torch.stack([(y - draw.clamp(-0.5, 0.5)).square().flatten(1).mean(1) for draw in draws])
        return -10 * errors.log10().mean(0)

    def _zero_draw(self, y: Tensor, labels: Tensor | None, condition: Tensor) -> Tensor:
        zeros = [y.new_zeros(len(y), *shape) for shape in self.flow.latent_shapes_at(*y.shape[2:])]
        return self.flow.decode(zeros, self._context(len(y), labels, condition))

    def _bits_of(self, squared_errors: Tensor) -> Tensor:
        return self.num_bits + (2 * math.pi * math.e * squared_errors.flatten(1).mean(1)).log2() / 2

    @property
    def trains_flow(self) -> bool:
        """Whether ``forward`` trains the flow, not an encoder that is still to be trained."""
        return self.flow.encoder is None or bool(self.flow.encoder.trained)

    def condition(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Return the condition, (B, E, H, W), of images damaged at random by the task; None without a task."""
        return None if self.task is None else self.task.condition(self.task.damage(images, generator))

    def dequantised(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the input of the flow: the images with dequantisation noise."""
        return dequantise(self._levels(images), self.num_bits, self.dtype, generator)

    def _levels(self, images: Tensor) -> Tensor:
        """Return the quantised images; without a task, they must have the flow's size."""
        levels = quantise(images, self.num_bits)
        if self.task is None and levels.shape[1:] != self.flow.image_shape:
            shape = ", ".join(map(str, self.flow.image_shape))
            raise ValueError(f"this model is for images of shape (B, {shape}), got {tuple(levels.shape)}")
        return levels
