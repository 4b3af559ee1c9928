"""A damaged picture as what is known about an image."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.conditioning import Conditioning, Given, Vocabulary
from glow_app.likelihood import bin_centres, quantise
from glow_app.models.image_model import ImageModel
from glow_app.nn.context import Context
from glow_app.nn.shape_checks import require_at_least
from glow_app.restoration.context_difference import ContextDifference
from glow_app.restoration.encoder import ConditionEncoder
from glow_app.restoration.restoration_task import RestorationTask
from glow_app.spec import register


@register("picture")
class PictureConditioning(Conditioning):
    """A damaged picture: an encoder computes a feature map per level from it, and estimates the image.

    The flow models the difference of the image from the estimate; see :class:`ContextDifference`.

    What is given is the condition of a picture, from :meth:`RestorationTask.condition`, or a picture that
    :meth:`RestorationTask.read` reads. It determines the size of the image. Only
    :func:`~glow_app.restoration.restore` draws in tiles, and keeps exactly what the picture determines.

    Args:
        features: Channels of each feature map, without those of the estimate.
        num_blocks: Residual blocks of each level of the encoder.
    Attributes:
        encoder: The encoder, once a flow is built with the conditioning.
    Shape:
        given: uint8, (B, E, H, W) or (1, E, H, W) for all images, E by
        :meth:`RestorationTask.condition_channels`.
    Raises:
        ValueError: If a size is below 1.
    References:
        SRFlow, Lugmayr et al. 2020, arXiv:2006.14200.
    """

    encoder: ConditionEncoder
    features: Sequence[int]

    def __init__(self, task: RestorationTask, features: int = 64, num_blocks: int = 6) -> None:
        super().__init__()
        require_at_least(1, features=features, num_blocks=num_blocks)
        self.task, self._num_features, self._num_blocks = task, features, num_blocks

    def build(self, image_shape: tuple[int, int, int], num_levels: int) -> Sequence[Bijection]:
        """Create the encoder; return the difference from its estimate."""
        channels = self.task.condition_channels(image_shape[0])
        sizes = (channels, image_shape[0], num_levels, self._num_features, self._num_blocks)
        self.encoder = ConditionEncoder(*sizes, has_mask=self.task.has_mask)
        self.features = self.encoder.num_features
        return [ContextDifference(4 * image_shape[0], has_mask=self.task.has_mask)]

    def unknown(self, num: int) -> Sequence[Tensor]:
        """Raise the ValueError that says what must be given."""
        raise ValueError("this model restores pictures: give a damaged one, or use glow_app.restoration.restore")

    def forward(self, given: Tensor) -> list[Tensor]:
        """Return the feature maps of a condition."""
        return self.encoder(self._real(given))

    def estimate(self, given: Tensor) -> Tensor:
        """Return the encoder's estimate of the image, real, (B, C, H, W)."""
        return self.encoder.estimate(self._real(given))

    def estimate_in(self, context: Context) -> Tensor:
        """Return the estimate that the feature maps of a condition begin with, (B, C, H, W)."""
        assert isinstance(context, Sequence)
        return F.pixel_shuffle(context[0][:, : 4 * self.encoder.num_channels], 2)

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the conditions of randomly damaged copies of images."""
        return self.task.condition(self.task.damage(images, generator))

    def vocabulary(self) -> "PictureVocabulary":
        """Return the vocabulary of pictures."""
        return PictureVocabulary(self)

    def _real(self, given: Tensor) -> Tensor:
        """Return a condition as input of the encoder."""
        weight = self.encoder.correction.weight
        return bin_centres(quantise(given.to(weight.device), 8), 8, weight.dtype)


class PictureVocabulary(Vocabulary):
    """Damaged pictures."""

    conditioning: PictureConditioning

    def parse(self, given: Given, num: int) -> Tensor | None:
        """Return a condition for ``num`` images, uint8 (num, E, H, W) or (1, E, H, W), or None for nothing.

        Raises:
            ValueError: If it is of another type or shape, or the picture cannot be read.
        """
        if given is None:
            return None
        task, encoder = self.conditioning.task, self.conditioning.encoder
        if not (isinstance(given, Tensor) and given.ndim == 4):
            given = task.condition(task.read(given, encoder.num_channels)[None])
        channels = encoder.condition_channels
        if given.dtype != torch.uint8 or given.shape[1] != channels or len(given) not in (1, num):
            raise ValueError(
                f"the condition is {given.dtype} of shape {tuple(given.shape)}; "
                f"expected torch.uint8, (1 or {num}, {channels}, H, W)"
            )
        return given

    def format(self, given: Tensor | None) -> list[Any]:
        """Return nothing: pictures are not repeated in metadata."""
        return []


def picture_conditioning_of(model: ImageModel) -> PictureConditioning:
    """Return the conditioning of a restoration model; raise ValueError if it is of another kind."""
    if not isinstance(model.conditioning, PictureConditioning):
        raise ValueError("this is not a restoration model; expected one with a PictureConditioning")
    return model.conditioning


def task_of(model: ImageModel) -> RestorationTask | None:
    """Return the task of a restoration model; None for other models."""
    return model.conditioning.task if isinstance(model.conditioning, PictureConditioning) else None
