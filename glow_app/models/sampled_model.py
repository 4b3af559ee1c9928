"""Sampling and decoding of images from latents, or from seeds, temperatures and classes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.flows import Context, Glow
from glow_app.flows.context import rows_of
from glow_app.likelihood import bin_centres, quantise, to_uint8
from glow_app.messages import is_line
from glow_app.models.class_labels import Labels, as_labels, class_facts, labels_of_seeds
from glow_app.models.density import Density
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.running import fold_flow, images_at_a_time
from glow_app.seeding import image_generator, one_seed_each


class SampledModel(Density):
    """A model that encodes images, decodes latents and samples, with class names and recommended settings."""

    flow: Glow
    num_bits: int
    _class_names: tuple[str, ...] = ()
    _generation = GenerationSettings()
    _folded: Sequence[Glow] = ()  # a sequence, so that it is not registered as a submodule

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class; empty if unknown.

        Raises:
            ValueError: When set, if there is not a name per class, or a name is not a line of text.
        """
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str]) -> None:
        if names and len(names) != self.flow.num_classes:
            raise ValueError(f"there are {len(names)} names for {self.flow.num_classes or 0} classes")
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and is_line(name) for name in names):
            raise ValueError("the names of the classes are not a list of lines of text")
        self._class_names = tuple(names)

    @property
    def generation(self) -> GenerationSettings:
        """The default settings for sampling, those of the model's configuration.

        Raises:
            ValueError: When set, if they are invalid for the model.
        """
        return self._generation

    @generation.setter
    def generation(self, settings: GenerationSettings) -> None:
        settings.check(len(self.flow.latent_shapes), self.flow.num_classes is not None)
        self._generation = settings

    @property
    def facts(self) -> dict[str, object]:
        """The names of the classes, if known."""
        return {"classes": list(self.class_names)} if self.class_names else {}

    def freeze(self) -> Self:
        """Precompute quantities that depend only on the weights, such as inverse matrices, and return the model.

        Results are bitwise identical but faster, and the model cannot be trained. Loading or moving the model's weights
        discards the precomputed quantities; weights must not be changed in other ways, such as through ``flow``.
        """
        self.eval().requires_grad_(False)
        self._folded = [fold_flow(self.flow)]
        return self

    @property
    def fastest_flow(self) -> Glow:
        """The flow in use: with folded weights after :meth:`freeze` if gradients are disabled."""
        return self._folded[0] if self._folded and not torch.is_grad_enabled() else self.flow

    @torch.no_grad()
    def encode(self, images: Pictures, labels: Labels | None = None, condition: Tensor | None = None) -> list[Tensor]:
        """Return the whitened latents of the images' bin centres, a tensor per level.

        Images and labels are as for :meth:`ImageModel.bits_per_dim`; a class-conditional model needs labels.

        Like :meth:`decode`, it ignores autocast and runs in full precision: states differ between the two directions in
        the last bit, which a bfloat16 conditioner may round to different values, and later steps amplify this.
        """
        images = as_images(images, self.flow.image_shape).to(self.device)
        y = bin_centres(self._levels(images), self.num_bits, self.dtype)
        with full_precision(self.device):
            return self.fastest_flow.encode(y, self._context(len(images), labels, condition))

    def decode(
        self,
        latents: Sequence[Tensor],
        labels: Labels | None = None,
        context: Context = None,
        condition: Tensor | None = None,
    ) -> Images:
        """Return the uint8 images of ``latents``; ``decode(encode(images))`` equals the (quantised) images.

        Args:
            latents: A tensor per level.
            labels: For a class-conditional model: the class of all images, by number or name, or one per image.
            context: Replaces labels and condition; from :meth:`context`, or a mixture of contexts.
            condition: For a model with a task.
        Raises:
            FloatingPointError: If an image is not finite.
        """
        if context is None:
            context = self.context(len(latents[0]), labels, condition)
        return Images(to_uint8(self.decode_values(latents, context), self.num_bits))

    @torch.no_grad()
    def context(
        self, num: int, labels: Labels | None = None, condition: Tensor | None = None, guidance: float = 1.0
    ) -> Context:
        """Return the context of ``num`` images for :meth:`decode_values`, from labels and condition."""
        with full_precision(self.device):
            return self._context(num, labels, condition, guidance)

    @torch.no_grad()
    def decode_values(self, latents: Sequence[Tensor], context: Context) -> Tensor:
        """Return the images of :meth:`decode` before clipping and rounding; [-1/2, 1/2) is black to white."""
        latents = [level.to(self.device, self.dtype) for level in latents]
        self.flow.check_latents(latents)
        num = size = len(latents[0])
        with full_precision(self.device):
            if self.device.type == "cpu":
                _, _, height, width = latents[0].shape
                size = images_at_a_time(self.flow.hidden_channels, (1, 2 * height, 2 * width))
            parts = [slice(start, start + size) for start in range(0, num, size)]
            images = torch.cat(
                [self.fastest_flow.decode([level[rows] for level in latents], rows_of(context, rows)) for rows in parts]
            )
        # to_uint8 would make them black, which could pass for samples of the model.
        if broken := int((~images.isfinite()).flatten(1).any(1).sum()):
            raise FloatingPointError(
                f"{broken} of {len(images)} images are not finite; lower the temperature or the strength, or use "
                "another checkpoint"
            )
        return images

    def quantised(self, images: Tensor) -> Tensor:
        """Return uint8 images reduced to ``num_bits`` bits, as :meth:`decode` returns them."""
        return to_uint8(bin_centres(quantise(images, self.num_bits), self.num_bits), self.num_bits)

    def sample(
        self,
        num: int,
        temperature: float | Sequence[float] | None = None,
        seeds: int | Sequence[int] | None = None,
        labels: Labels | None = None,
        guidance: float | None = None,
        size: tuple[int, int] | None = None,
        condition: Tensor | None = None,
    ) -> Images:
        """Draw ``num`` uint8 images, by default like ``glow sample``.

        At temperature 1 and guidance 1, they are samples of the model's own distribution.

        Args:
            num: Number of images.
            temperature: Factor of the base noise, for all levels or one per level, finest first; the model's
                recommendation (:attr:`generation`, usually 0.7) if None.
            seeds: Seed of the first image, image i uses ``seeds + i``; or a seed per image. Random if None.
            labels: For a class-conditional model: the class of all images, by number or name, or one per image. If
                None, classes take turns: the image of seed s has class s modulo their number.
            guidance: Factor of the class embedding, see :meth:`Glow.embed <glow_app.flows.Glow.embed>`; the model's
                recommendation if None.
            size: Height and width, for textures, if the prior allows other sizes; the model's if None.
            condition: For a model with a task: uint8 (num, E, H, W), or (1, E, H, W) for all; determines the size.
        Raises:
            ValueError: If a temperature or the guidance is out of range, the number of seeds or labels is wrong, a
                class does not exist, or there is guidance but the model has no classes.
        """
        seeds = one_seed_each(num, seeds)
        settings = self.generation.override(temperature, guidance)
        if condition is not None:
            size = condition.shape[2], condition.shape[3]
        noise = self.base_noise(seeds, settings.temperature, size)
        classes = labels_of_seeds(self, seeds, None) if labels is None else as_labels(self, labels, num)
        images = self.decode(noise, context=self.context(num, classes, condition, settings.guidance))
        return Images(images, self.facts_of(seeds, settings, classes))

    def facts_of(
        self, seeds: Sequence[int], settings: GenerationSettings, classes: Tensor | None
    ) -> list[dict[str, Any]]:
        """Return the metadata of each image: its seed, the settings and its class."""
        facts = [{"seed": seed, **settings.to_plain()} for seed in seeds]
        if classes is None or self.flow.num_classes is None:
            return facts
        return [fact | class_facts(self, number) for fact, number in zip(facts, classes.tolist(), strict=True)]

    def base_noise(
        self, seeds: Sequence[int], temperature: float | Sequence[float] = 1.0, size: tuple[int, int] | None = None
    ) -> list[Tensor]:
        """Return noise in the shape of the latents, N(0, T²) for each level's temperature T.

        Each image has its own CPU generator, so a seed means the same on every device.

        Args:
            seeds: A seed per image.
            temperature: A value for all levels, or one per level, finest first.
            size: Height and width of the images; the model's if None.
        Raises:
            ValueError: If a temperature is not a number from 0 to 100, or the model has no latents for this size.
        """
        shapes = self.flow.latent_shapes_at(*(self.flow.image_shape[1:] if size is None else size))
        generators = [image_generator(seed) for seed in seeds]
        first = next(self.parameters())  # once, because the search takes longer than drawing the noise of a small image
        noise = []
        for shape, factor in zip(shapes, self.level_temperatures(temperature), strict=True):
            level = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
            noise.append(factor * level.to(first.device, first.dtype))
        return noise

    def level_temperatures(self, temperature: float | Sequence[float]) -> list[float]:
        """Return the temperature of each level, given one for all or one per level.

        Raises:
            ValueError: If the number of temperatures is wrong, or one is not a number from 0 to 100.
        """
        return self.generation.override(temperature, None).temperatures(len(self.flow.latent_shapes))

    @abstractmethod
    def _levels(self, images: Tensor) -> Tensor:
        """Return the quantised images; raise ValueError if the model does not accept their size."""

    def _context(self, num: int, labels: Labels | None, condition: Tensor | None, guidance: float = 1.0) -> Context:
        labels = as_labels(self, labels, num)
        if labels is not None and len(labels) != num:
            raise ValueError(f"there are {len(labels)} labels for {num} images")
        labels = None if labels is None else labels.to(self.device)
        return self.flow.context(labels, self._real_condition(condition, num), guidance)

    def _real_condition(self, condition: Tensor | None, num: int) -> Tensor | None:
        """Return the condition of ``num`` images as input of the flow."""
        if condition is not None and len(condition) not in (1, num):
            raise ValueError(f"there are {len(condition)} conditions for {num} images")
        return None if condition is None else bin_centres(quantise(condition.to(self.device), 8), 8, self.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._folded = ()
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *arguments: Any, **options: Any) -> None:
        self._folded = ()
        super()._load_from_state_dict(*arguments, **options)
