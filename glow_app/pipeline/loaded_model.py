"""An image model that also reads pictures and words: the layer between people and tensors."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from glow_app.conditioning import Given
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.inference import read, read_known
from glow_app.pipeline.sampling import draw, draw_settings
from glow_app.seeding import one_seed_each


class Encoded(list[Tensor]):
    """Latents, a tensor per level, and what was given about the images that they encode."""

    def __init__(self, levels: Iterable[Tensor], given: Tensor | None) -> None:
        super().__init__(levels)
        self.given = given

    def __repr__(self) -> str:
        return f"latents of shapes {', '.join('x'.join(map(str, level.shape)) for level in self)}"


class LoadedModel(ImageModel):
    """An :class:`ImageModel` whose methods also take what people have, and which draws as ``glow sample`` does.

    :func:`~glow_app.load_model` returns it; :func:`~glow_app.pipeline.inference.read` says what its methods take.
    """

    def bits_per_dim(
        self, images: Pictures, given: Given = None, draws: int = 1, generator: torch.Generator | None = None
    ) -> Tensor:
        """Return bits/dim, (B,), as :meth:`ImageModel.bits_per_dim`."""
        return super().bits_per_dim(*read(self, images, given), draws, generator)

    def log_prob(self, images: Pictures, given: Given = None) -> Tensor:
        """Return log-probabilities in nats, (B,), as :meth:`ImageModel.log_prob`."""
        return super().log_prob(*read(self, images, given))

    def encode(self, images: Pictures, given: Given = None) -> list[Tensor]:
        """Return latents, as :meth:`ImageModel.encode`, which remember what was given.

        If nothing is given, it is as in ``glow encode`` what the pictures were drawn with, or else what the name of
        their folder says, or else their most likely class; nothing for a picture whose attributes are unknown.
        """
        pixels, known = read_known(self, images, given)
        return Encoded(super().encode(pixels, known), known)

    def decode(self, latents: Sequence[Tensor], given: Given = None) -> Images:
        """Return uint8 images, (B, C, H, W), as :meth:`ImageModel.decode`; by default with what they were encoded."""
        given = latents.given if given is None and isinstance(latents, Encoded) else given
        return super().decode(latents, self.vocabulary.parse(given, len(latents[0])))

    def sample(
        self,
        num: int,
        temperature: float | Sequence[float] | None = None,
        seeds: int | Sequence[int] | None = None,
        given: Given = None,
        guidance: float | None = None,
        *,
        size: tuple[int, int] | None = None,
    ) -> Images:
        """Draw ``num`` uint8 images, with their seeds, by default like ``glow sample``.

        At temperature 1 and guidance 1, they are samples of the model's own distribution.

        Args:
            temperature: Factor of the base noise, for all levels or one per level, finest first; the model's
                recommendation (:attr:`generation`, usually 0.7) if None.
            seeds: Seed of the first image, image i uses ``seeds + i``; or a seed per image. Random if None.
            given: If None, classes take turns: the image of seed s has class s modulo their number. Attributes that
                are not given are drawn, by the seed, as they occur in the training data.
            guidance: Factor of what is given, see :meth:`Conditioning.guidance
                <glow_app.conditioning.Conditioning.guidance>`; the model's recommendation if None.
            size: As for :meth:`ImageModel.sample`: height and width; the model's if None.
        Raises:
            ValueError: If a temperature or the guidance is out of range, the number of seeds is wrong, or there is
                guidance but the model takes none.
        """
        seeds, parsed = one_seed_each(num, seeds), self.vocabulary.parse(given, num)
        return self._draw(seeds, draw_settings(self, temperature, guidance), parsed, size)

    def rsample(
        self,
        num: int,
        temperature: float | Sequence[float] = 1.0,
        seeds: int | Sequence[int] | None = None,
        given: Given = None,
    ) -> Tensor:
        """Draw with gradients, as :meth:`ImageModel.rsample`."""
        return super().rsample(num, temperature, seeds, self.vocabulary.parse(given, num))

    def sample_and_log_prob(
        self,
        num: int,
        temperature: float | Sequence[float] | None = None,
        seeds: int | Sequence[int] | None = None,
        given: Given = None,
    ) -> tuple[Images, Tensor]:
        """Draw as :meth:`sample`, and return the images and their :meth:`log_prob` as of others, (num,), nats."""
        images = self.sample(num, temperature, seeds, given)
        return images, self.log_prob(images, given)

    def _draw(self, seeds: Sequence[int], *arguments: Any) -> Images:
        return draw(self, seeds, *arguments)
