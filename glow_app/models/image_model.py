"""The image model, from uint8 images to latents and back."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from glow_app.bijections import full_precision, held_noise
from glow_app.conditioning import Conditioning
from glow_app.flows import Glow, WaveletFlow
from glow_app.likelihood import (
    bin_centres,
    bits_per_dim,
    dequantise,
    means_to_uint8,
    quantise,
    require_finite,
    to_uint8,
)
from glow_app.models.bits_table import BitsTable
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.module_state import is_initialized, model_hash, require_wide_weights, weights_device, weights_dtype
from glow_app.nn.context import Context, rows_of
from glow_app.nn.shape_checks import require_at_least
from glow_app.numeric_limits import LARGEST_IMAGE
from glow_app.pictures.image_batch import Images
from glow_app.running import Memory, choose_runners, decode_in_parts, fold
from glow_app.seeding import image_generator, image_generators, one_seed_each
from glow_app.spec import spec_of


class ImageModel(nn.Module):
    r"""A flow with quantisation and dequantisation: a probability for every uint8 image.

    Args:
        flow: The flow on real images in :math:`[-1/2, 1/2)`.
        num_bits: Number of high bits of each value to model, 1 to 8.
    Shape:
        images: (B, C, H, W), uint8, of the flow's size, or of the size that what is given determines; given: what is
        known about the images, as the flow's :class:`~glow_app.conditioning.Conditioning` takes it, such as their
        classes, int64 (B,); latents: a list of (B, C_l, H_l, W_l).
    Attributes:
        vocabulary: What people write and read about images, for those who call the model.
    Raises:
        TypeError: If the flow is of another class, or images are no tensor.
        ValueError: From all methods, if an argument is out of range, images have the wrong type or shape, or something
            is given that does not fit the model, or nothing although it needs something.
    """

    unit = "bits/dim"
    examples = "images"
    dtype, device, initialized = property(weights_dtype), property(weights_device), property(is_initialized)
    hash = property(model_hash)
    _generation = GenerationSettings()
    _folded: Sequence[Glow | WaveletFlow] = ()  # a sequence, so that it is not registered as a submodule

    def __init__(self, flow: Glow | WaveletFlow, num_bits: int = 8) -> None:
        super().__init__()
        if not isinstance(num_bits, int) or not 1 <= num_bits <= 8:
            raise ValueError(f"num_bits is {num_bits}; expected a whole number from 1 to 8")
        if not isinstance(flow, Glow | WaveletFlow):
            raise TypeError(
                f"flow is a {type(flow).__name__}, which no file can describe; expected a Glow or a WaveletFlow: "
                "Glow(step=...) takes steps of your own"
            )
        if math.prod(flow.image_shape[1:]) > LARGEST_IMAGE:
            height, width = flow.image_shape[1:]
            raise ValueError(f"images have {width}x{height} pixels; expected at most {LARGEST_IMAGE:,} in all")
        self.flow, self.num_bits = flow, num_bits
        self.vocabulary = flow.conditioning.vocabulary()
        self.set_runners()
        # CPU convolutions are up to six times as fast in channels_last.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def conditioning(self) -> Conditioning:
        """What the model can be given."""
        return self.flow.conditioning

    @property
    def num_dims(self) -> int:
        """The dimension :math:`D = C H W` of an image."""
        return math.prod(self.flow.image_shape)

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types, from which the model is rebuilt; TypeError if a part has no name."""
        return {"num_bits": self.num_bits, "flow": spec_of(self.flow)}

    @property
    def facts(self) -> dict[str, object]:
        """Facts about the data, such as the names of classes, as plain types; not part of the model's hash."""
        return self.vocabulary.facts

    @property
    def generation(self) -> GenerationSettings:
        """The default settings for sampling; ValueError when set if they are invalid for the model."""
        return self._generation

    @generation.setter
    def generation(self, settings: GenerationSettings) -> None:
        settings.check(len(self.flow.latent_shapes), self.conditioning.guided)
        self._generation = settings

    def initialize(self, images: Tensor, given: Tensor | None = None, generator: torch.Generator | None = None) -> None:
        """Initialise the data-dependent parameters from a batch; does nothing in an initialised model."""
        y = self.dequantised(images, generator)
        self.flow.initialize(y, self.context_of(y, given), generator)

    def forward(self, images: Tensor, given: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """Return bits/dim of a dequantisation draw, (B,), or their estimate from parts of images: the training loss."""
        y = self.dequantised(images, generator)
        context = self.context_of(y, given)
        coarse, log_prob = self.fastest_flow.detail_log_prob(y, context, generator)
        log_prob = log_prob + self.fastest_flow.coarse_log_prob(coarse, context)
        return bits_per_dim(log_prob, y[0].numel(), self.num_bits)

    def set_runners(self, memory: Memory = "store", compiled: bool = False) -> None:
        """Select how training evaluates the levels; see :func:`~glow_app.running.choose_runners`."""
        choose_runners(self.flow, memory, compiled)

    def freeze(self) -> Self:
        """Precompute quantities that depend only on the weights, such as inverse matrices, and return the model.

        Results are bitwise identical but faster, and the model cannot be trained. Loading or moving the model's weights
        discards the precomputed quantities; weights must not be changed in other ways, such as through ``flow``.
        """
        self.eval().requires_grad_(False)
        self._folded = [fold(self.flow)]
        return self

    @property
    def fastest_flow(self) -> Glow | WaveletFlow:
        """The flow in use: with folded weights after :meth:`freeze` if gradients are disabled."""
        return self._folded[0] if self._folded and not torch.is_grad_enabled() else self.flow

    def log_prob(self, images: Tensor, given: Tensor | None = None) -> Tensor:
        """Return the log-probability of each image in nats, (B,): that of :meth:`bits_per_dim`, with one draw."""
        bits_per_dim = self.bits_per_dim(images, given)
        return -math.log(2) * images[0].numel() * bits_per_dim

    @torch.no_grad()
    def bits_per_dim(
        self, images: Tensor, given: Tensor | None = None, draws: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Return bits per dimension of each image, (B,).

        .. math:: -\frac{1}{D} \log_2 \frac{1}{K} \sum_{k=1}^K \frac{p(y_k)}{2^{nD}},
                  \qquad p(y) = \frac{1}{M} \sum_{c=1}^M p(y \mid c)

        With one draw, this is the value reported in the literature; more draws give a tighter upper bound. The density
        is :math:`p(y \mid c)` of what is given; if nothing is given to a class-conditional model, it is the marginal
        :math:`p(y)` over its M classes, assumed equally frequent, with the same noise for each.

        Args:
            draws: Number K of dequantisation draws.
            generator: Generator of the dequantisation noise; if None, image i has the noise of seed i, as in the
                commands. Its state also determines the noise in the trace estimates of a continuous prior.
        """
        return self.bits_table(images, given, draws, generator).bits_per_dim

    @torch.no_grad()
    def bits_table(
        self, images: Tensor, given: Tensor | None = None, draws: int = 1, generator: torch.Generator | None = None
    ) -> BitsTable:
        """Return the bits by draw, class and level; as :meth:`bits_per_dim`."""
        require_at_least(1, draws=draws)
        images = self._placed_images(images)
        generator = generator or image_generators(range(len(images)))
        table, choices = [], self.conditioning.unknown(len(images)) if given is None else [given]
        with held_noise(self.device, generator) as rewind:
            for _ in range(draws):
                y, bits = self.dequantised(images, generator), []
                for choice in choices:
                    rewind()
                    bits.append(self.dequantised_level_bits(y, choice))
                table.append(torch.stack(bits))
        return BitsTable(torch.stack(table), y[0].numel())

    @torch.no_grad()
    def dequantised_level_bits(self, y: Tensor, given: Tensor | None = None) -> Tensor:
        r"""Return the bits/dim per level of :meth:`dequantised` images, (B, L), finest first; the sum is the bits/dim.

        .. math:: b_l = \frac{n D_l}{D} - \frac{\log \mathcal N(z_l; 0, I) + \log|\det J_l|}{D \log 2}
        """
        log_probs = self.fastest_flow.level_log_probs(y, self.context_of(y, given))
        num_dims = y[0].numel()
        sizes = torch.tensor(list(map(math.prod, self.flow.latent_shapes_at(*y.shape[2:])))).to(log_probs)
        return self.num_bits * sizes / num_dims - log_probs / (num_dims * math.log(2))

    def dequantised(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the input of the flow: images with dequantisation noise."""
        return dequantise(quantise(images, self.num_bits), self.num_bits, self.dtype, generator)

    def quantised(self, images: Tensor) -> Tensor:
        """Return uint8 images reduced to ``num_bits`` bits, as :meth:`decode` returns them."""
        return to_uint8(bin_centres(quantise(images, self.num_bits), self.num_bits), self.num_bits)

    @torch.no_grad()
    def encode(self, images: Tensor, given: Tensor | None = None) -> list[Tensor]:
        """Return the whitened latents of the images' bin centres, a tensor per level.

        Like :meth:`decode`, it ignores autocast and runs in full precision: states differ between the two directions in
        the last bit, which a bfloat16 conditioner may round to different values, and later steps amplify this.
        """
        y = bin_centres(quantise(self._placed_images(images), self.num_bits), self.num_bits, self.dtype)
        with full_precision(self.device):
            return self.fastest_flow.encode(y, self.context_of(y, given))

    def _placed_images(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor):
            raise TypeError(
                f"images are a {type(images).__name__}; expected a uint8 tensor (B, C, H, W); a model that load_model "
                "returns also takes files, Pillow images and arrays"
            )
        return images.to(self.device)

    def decode(self, latents: Sequence[Tensor], given: Tensor | None = None) -> Images:
        """Return the uint8 images of ``latents``; ``decode(encode(images))`` equals the (quantised) images.

        Raises:
            FloatingPointError: If an image is not finite.
        """
        return self.decode_with(latents, self.context(given, len(latents[0])))

    def decode_with(
        self, latents: Sequence[Tensor], context: Context, change: Tensor | None = None, shrink: bool = False
    ) -> Images:
        """Return the uint8 images of ``latents`` and a context, such as a mixture of several; as :meth:`decode`.

        A change is added to the context. Images that explode, of which 1 in 200 values exceeds black or white by half
        the range, are decoded again with less and less of the change, and of the latents if these may ``shrink``.
        """
        if change is None and not shrink:
            return self._rounded(self.decode_values(latents, context))

        def changed(share: float) -> Context:
            return context if change is None or not isinstance(context, Tensor) else context + share * change

        values = self._decoded(latents, changed(1))
        for share in (0.75, 0.5, 0.25, 0.0):
            # Negated, because an image that is not finite explodes as well.
            exceeding = (~(values.abs() <= 1)).flatten(1).mean(dim=1, dtype=values.dtype)
            rows = (exceeding > 0.005).nonzero()[:, 0].cpu()  # which indexes latents on any device
            if len(rows):
                less = [(share if shrink else 1) * level[rows] for level in latents]
                values[rows] = self._decoded(less, rows_of(changed(share), rows))
        return self._rounded(require_finite(values))

    def _rounded(self, values: Tensor) -> Images:
        # Means of pixels lie between the levels of these.
        are_means = tuple(values.shape[2:]) in self.flow.sizes[1:]
        return Images((means_to_uint8 if are_means else to_uint8)(values, self.num_bits))

    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """Return the images of :meth:`decode` before clipping and rounding; [-1/2, 1/2) is black to white."""
        return require_finite(self._decoded(latents, context))

    @torch.no_grad()
    def _decoded(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        first = next(self.parameters())  # once, because the search takes longer than a step for one image
        latents = [level.to(first) for level in latents]
        self.flow.check_latents(latents)
        with full_precision(first.device):
            return decode_in_parts(self.fastest_flow, latents, context)

    @torch.no_grad()
    def context(self, given: Tensor | None, num: int) -> Context:
        """Return the context of what is given for ``num`` images, for :meth:`decode_with`, in full precision."""
        with full_precision(self.device):
            return self._context(given, num)

    def placed(self, given: Tensor) -> Tensor:
        """Return what is given on the device of the weights and, if it is real, in their type."""
        return given.to(self.device, self.dtype if given.is_floating_point() else None)

    def size_of(self, given: Tensor | None) -> tuple[int, int] | None:
        """Return the height and width of the images, if what is given determines them; otherwise None."""
        has_maps = given is not None and not isinstance(self.conditioning.features, int)
        return (given.shape[2], given.shape[3]) if has_maps else None  # type: ignore[union-attr]

    def sample(
        self,
        num: int,
        temperature: float | Sequence[float] = 1.0,
        seeds: int | Sequence[int] | None = None,
        given: Tensor | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> Images:
        """Draw ``num`` uint8 images, at temperature 1 from the model's distribution.

        Args:
            temperature: Factor of the base noise, for all levels or one per level, finest first.
            seeds: Seed of the first image, image i uses ``seeds + i``; or a seed per image. Random if None.
            size: Height and width; the model's if None. Larger ones, for textures, if the prior allows them; of a
                wavelet flow, half, a quarter and so on give the same pictures, reduced, in less time.
        """
        seeds = one_seed_each(num, seeds)
        return self.decode(self.base_noise(seeds, temperature, self.size_of(given) or size), given)

    def rsample(
        self,
        num: int,
        temperature: float | Sequence[float] = 1.0,
        seeds: int | Sequence[int] | None = None,
        given: Tensor | None = None,
    ) -> Tensor:
        """Draw as :meth:`sample`, with gradients: images before rounding, (num, C, H, W), from -1/2 to 1/2."""
        noise = self.base_noise(one_seed_each(num, seeds), temperature, self.size_of(given))
        with full_precision(self.device):
            return self.flow.decode([level.to(self.device, self.dtype) for level in noise], self._context(given, num))

    def sample_and_log_prob(
        self,
        num: int,
        temperature: float | Sequence[float] = 1.0,
        seeds: int | Sequence[int] | None = None,
        given: Tensor | None = None,
    ) -> tuple[Images, Tensor]:
        """Draw as :meth:`sample`, and return the images and their :meth:`log_prob`, (num,), nats."""
        images = self.sample(num, temperature, seeds, given)
        return images, self.log_prob(images, given)

    def base_noise(
        self, seeds: Sequence[int], temperature: float | Sequence[float] = 1.0, size: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """Return noise in the shape of the latents of images, N(0, T²) for the temperature T of each level.

        Arguments are as for :meth:`sample`. Each image has its own CPU generator, so a seed means the same on every
        device.
        """
        num = len(self.flow.latent_shapes_at(*(self.flow.image_shape[1:] if size is None else size)))
        # The coarser levels alone have the noise that they have below the others.
        is_coarse = num < len(self.flow.latent_shapes)
        shapes = self.flow.latent_shapes_at(*(self.flow.image_shape[1:] if size is None or is_coarse else size))
        temperatures = [temperature] * len(shapes) if isinstance(temperature, (int, float)) else temperature
        generators = [image_generator(seed) for seed in seeds]
        first = next(self.parameters())  # once, because the search takes longer than drawing the noise of a small image
        noise = [torch.stack([torch.randn(shape, generator=each) for each in generators]) for shape in shapes]
        return [factor * level.to(first) for factor, level in zip(temperatures, noise, strict=True)][-num:]

    def context_of(self, y: Tensor, given: Tensor | None) -> Context:
        """Return the context of real images; raise ValueError if they are of no size of the model."""
        channels, size = self.flow.image_shape[0], self.size_of(given)
        sizes = self.flow.sizes if size is None else [size]
        if y.shape[1:2] != (channels,) or tuple(y.shape[2:]) not in sizes:
            shape = ", ".join(map(str, (channels, *sizes[0])))
            raise ValueError(f"this model is for images of shape (B, {shape}), got {tuple(y.shape)}")
        return self._context(given, len(y))

    def _context(self, given: Tensor | None, num: int) -> Context:
        if given is None:
            given, *others = self.conditioning.unknown(num)
            if others:
                raise ValueError(f"this model needs `given`: one of {1 + len(others)} values")
        context: Context = None if given is None else self.conditioning(self.placed(given))
        return context

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        require_wide_weights(fn)
        self._folded = ()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._folded = ()
        super()._load_from_state_dict(*arguments, **options)
