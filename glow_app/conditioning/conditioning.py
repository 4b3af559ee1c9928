"""The contract of a conditioning: a network from what is known about images to the context of a flow."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection
from glow_app.conditioning.vocabulary import Vocabulary
from glow_app.nn.context import Context
from glow_app.spec import register


class Conditioning(nn.Module, ABC):
    r"""A network from what is given about images, such as their classes, to the context of a flow.

    A model with a conditioning learns :math:`p(x \mid c)`, where c is the context of what is given. To add a kind, set
    :attr:`features`, write :meth:`forward` and, if it has arguments, :attr:`config`, and override the other methods
    where their defaults do not fit. It sees only tensors, on its own device and real ones in its own type: a
    :class:`Vocabulary` reads what people write.

    Attributes:
        features: Size E of the context, or the channels E_l of the feature map of each level, finest first.
    Shape:
        given: (B, ...), a row per image; with feature maps, which are as large as the images, also (1, C, H, W) for all
        images. context: (B, E), or a feature map per level, (B, E_l, H_l, W_l) or (1, E_l, H_l, W_l).
    """

    features: int | Sequence[int]

    @abstractmethod
    def forward(self, given: Tensor) -> Context:
        """Return the context of what is given."""

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Return what is given to :meth:`forward` in training: by default the images' labels.

        Args:
            images: uint8 (B, C, H, W).
            labels: Those of the data set: classes, int64 (B,), or attributes, (B, A), NaN where unknown.
            generator: Source of random numbers, by :func:`~glow_app.seeding.draw_rows` only.
        """
        return labels

    def unknown(self, num: int) -> Sequence[Tensor | None]:
        """Return the possible values for ``num`` images of which nothing is given, each (num, ...), equally probable.

        A single value is used wherever nothing is given. With several, such as all classes, likelihoods are averaged
        over them, and samples take them in turn.

        Raises:
            ValueError: If something must be given, as by default.
        """
        raise ValueError(f"this model needs `given`: a value for {type(self).__name__}")

    def guidance(self, filled: Tensor, given: Tensor) -> Tensor:
        r"""Return the direction d of guidance, (B, E), for a kind that has one.

        A guidance :math:`w` makes the context :math:`c + (w - 1)\, d`. With :math:`w = 1` it is the model itself, to
        the last bit. Above 1, images show more clearly what is given and vary less, and they are no longer samples of
        the model's distribution. Some papers call that guidance 0.

        Args:
            filled: What images are drawn with, from :meth:`Vocabulary.default`: what is given, and values for the rest.
            given: What is given, as for :meth:`forward`; where that is nothing, the direction is of what is filled in.
        """
        raise NotImplementedError

    @property
    def guided(self) -> bool:
        """Whether this kind has a direction of guidance."""
        return type(self).guidance is not Conditioning.guidance

    def build(self, image_shape: tuple[int, int, int], num_levels: int) -> Sequence[Bijection]:
        """Create what depends on the flow; return bijections that use the context on the first level's squeezed images.

        :class:`~glow_app.flows.Glow` calls it once, before it reads :attr:`features`.
        """
        return ()

    def vocabulary(self) -> Vocabulary:
        """Return a new vocabulary for this kind: by default, one of numbers."""
        return Vocabulary(self)


@register("nothing")
class Unconditional(Conditioning):
    """Nothing is known about the images: the conditioning of a flow that has none. What is given is None."""

    features = 0

    def forward(self, given: Tensor | None) -> None:
        """Return None, for no context."""

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> None:
        """Return None."""

    def unknown(self, num: int) -> Sequence[None]:
        """Return the only value, None."""
        return [None]
