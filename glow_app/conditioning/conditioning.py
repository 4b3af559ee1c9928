"""The contract of a conditioning: from what is known about an image to the context of a flow."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection
from glow_app.data.image_set import ImageSet
from glow_app.messages import in_words
from glow_app.nn.context import Context

Given = Any  # what callers pass: a value for all images, one per image, or a tensor from `read`; None for nothing
Guidance = float | Sequence[float]


class Conditioning(nn.Module, ABC):
    r"""What is known about an image, such as its class, as the context of a flow.

    A model with a conditioning learns :math:`p(x \mid c)`, where c is the context of what is given. To add a kind of
    conditioning, implement :attr:`features`, :meth:`read` and :meth:`forward`, override :meth:`observe` if the value is
    not the image's label, and override the other methods where their defaults do not fit. The context is computed on
    the device and in the type of the parameters, of which there must be one.

    A kind with an :meth:`emphasis` d takes a guidance w, which makes the context :math:`c + (w - 1)\, d`: with
    :math:`w = 1` it is the model itself, to the last bit. Above 1 images show more clearly what is given and vary less,
    and they are no longer samples of the model's distribution. Some papers count from there, as guidance 0.

    Attributes:
        guided: Whether this kind has an :meth:`emphasis`.
        guarded: Whether an image that explodes with guidance is drawn with less of it.
        parts: Objects that :attr:`config` names by their classes, other than modules.
        training_kind: The ``kind`` of run that trains a flow with it: "images", or "restoration" if an encoder is
            trained before the flow.
    Shape:
        A value that :meth:`read` returns is a tensor with a row per image, (B, ...); of a kind with feature maps also
        one row for all, (1, ...). The context is (B, E), or a feature map per level, (B, E_l, H_l, W_l) or
        (1, E_l, H_l, W_l).
    """

    guided: ClassVar[bool] = False
    guarded: ClassVar[bool] = False
    parts: Sequence[Any] = ()
    training_kind: ClassVar[str] = "images"

    @property
    @abstractmethod
    def features(self) -> int | Sequence[int]:
        """Size E of the context, or the channels E_l of the feature map of each level, finest first."""

    @abstractmethod
    def read(self, given: Given, num: int) -> Tensor | None:
        """Return what is given for ``num`` images as a tensor; such a tensor is checked and returned.

        Args:
            given: A value for all images, or a sequence with one per image, as people write them: such as a name or
                a number.
            num: Number of images.
        Raises:
            ValueError: If a value is unknown or out of range, or there is not one per image.
        """

    @abstractmethod
    def forward(self, given: Tensor) -> Context:
        """Return the context of a tensor from :meth:`read`, a row per image, of the parameters' type if it is real."""

    def emphasis(self, known: Tensor, asked: Tensor) -> Tensor:
        """Return what a guidance of 2 adds to the context, (B, E), if the kind is :attr:`guided`.

        Args:
            known: As for :meth:`forward`.
            asked: The part of it to exaggerate, for a kind of which :meth:`of_draws` adds to what is given.
        """
        raise NotImplementedError

    def context(self, given: Given, num: int, guidance: Guidance = 1.0) -> Context:
        """Return the context of what is given for ``num`` images, :meth:`unknown` if None.

        Raises:
            ValueError: As :meth:`read` and :meth:`exaggeration`, or if something must be given.
        """
        known = self.read(self.unknown(num) if given is None else given, num)
        added = self.exaggeration(known, guidance)
        context: Context = None if known is None else self(self._placed(known))
        return context + added if isinstance(context, Tensor) and added is not None else context

    def exaggeration(self, known: Tensor | None, guidance: Guidance, asked: Tensor | None = None) -> Tensor | None:
        """Return what guidance adds to the context, (B, E); None where it is 1.

        Args:
            known: What holds for each image, from :meth:`read` or :meth:`of_draws`.
            guidance: The factor w of the class, one for all images or one per image.
            asked: The part of it to exaggerate; all of it if None.
        Raises:
            ValueError: If a guidance is negative or not finite, or not 1 although this kind takes none.
        """
        factors = [guidance] if isinstance(guidance, (int, float)) else list(guidance)
        for factor in factors:
            if not (math.isfinite(factor) and factor >= 0):
                raise ValueError(f"guidance is {factor}; expected a finite number of at least 0; 1 is the model itself")
        if all(factor == 1 for factor in factors):
            return None
        if known is None or not self.guided:
            raise ValueError("this model takes no guidance, which needs classes or attributes; leave it out")
        added = self.emphasis(self._placed(known), self._placed(known if asked is None else asked))
        return (torch.tensor(factors).to(added)[:, None] - 1) * added

    def build(self, image_shape: tuple[int, int, int], num_levels: int) -> None:
        """Create what depends on the flow; :class:`~glow_app.flows.Glow` calls it once, before it reads `features`."""

    def first_bijections(self, num_channels: int) -> Sequence[Bijection]:
        """Return bijections that use the context before the first step, on squeezed images of ``num_channels``."""
        return ()

    @property
    def values(self) -> Sequence[Any]:
        """All values that can be given, if they are few: draws take them in turn, and marginals average over them."""
        return ()

    def unknown(self, num: int) -> Tensor | None:
        """Return what holds for images of which nothing is known; raise the ValueError that says what must be given."""
        raise ValueError(f"this model needs `given`: a value for {type(self).__name__}")

    def default(self, seeds: Sequence[int]) -> Tensor | None:
        """Return what the draws of these seeds get by default: :attr:`values` in turn or else :meth:`unknown`."""
        in_turn = [self.values[seed % len(self.values)] for seed in seeds if self.values]
        return self.read(in_turn, len(seeds)) if in_turn else self.unknown(len(seeds))

    def of_draws(self, given: Given, seeds: Sequence[int]) -> Tensor | None:
        """Return what the draws of these seeds get: what is given, as :meth:`read` does, or :meth:`default` if None."""
        return self.default(seeds) if given is None else self.read(given, len(seeds))

    def choices(self, given: Given, num: int) -> list[Tensor | None]:
        """Return the values under which images are scored: what is given or else each of :attr:`values`.

        Without any, :meth:`unknown` is the only choice.

        Raises:
            ValueError: As :meth:`read`, or if something must be given.
        """
        values = (self.values or [self.unknown(num)]) if given is None else [given]
        return [self.read(value, num) for value in values]

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Return what training knows about images, as :meth:`read` does: their labels, unless overridden.

        Args:
            images: uint8 (B, C, H, W).
            labels: Those of the data set, classes (B,) or attributes (B, A).
            generator: Source of random numbers, by :func:`~glow_app.seeding.draw_rows` only.
        """
        return labels

    def plain(self, given: Tensor | None) -> list[Any]:
        """Return the value of each image as plain types that :meth:`read` takes, for metadata; empty for none."""
        if given is None:
            return []
        values = given.detach().cpu().numpy()
        if given.is_floating_point():
            values = values.astype(str).astype(float)  # 0.3 instead of 0.30000001192092896, which is its float32
        plain: list[Any] = values.tolist()
        return plain

    def metadata(self, given: Tensor | None) -> dict[str, str]:
        """Return the metadata of a picture made from images of which this is given; empty for nothing."""
        values = self.plain(given)
        separator = "; " if any(isinstance(value, Mapping) for value in values) else ", "
        return {"given": separator.join(map(in_words, values))} if values else {}

    def describe(self) -> dict[str, Any] | None:
        """Return the kind of what can be given and, if they are few, all values, as plain types; None for nothing."""
        values = self.plain(self.read(self.values, len(self.values))) if self.values else []
        return {"kind": type(self).__name__, "values": values}

    def of_folder(self, name: str) -> Given:
        """Return what the pictures in a folder of this name are given; None if the name does not say."""
        return None

    def image_size(self, given: Tensor | None) -> tuple[int, int] | None:
        """Return the height and width of the images, if what is given determines them; otherwise None."""
        return None

    def adopt(self, images: ImageSet) -> None:
        """Take over what the training data says, such as names of classes; raise ValueError if it does not fit."""

    def align(self, images: ImageSet) -> ImageSet:
        """Return images to measure the model on with labels as in training; raise ValueError if they do not fit."""
        return images

    def knows(self, images: ImageSet) -> bool:
        """Return whether the labels of these images mean what those of the training data did."""
        return True

    @property
    def facts(self) -> dict[str, Any]:
        """What :meth:`adopt` has taken over, as plain types; stored with the model, but not part of its hash."""
        return {}

    def load_facts(self, facts: Mapping[str, Any]) -> None:
        """Take :attr:`facts` from those of a stored model; raise ValueError if they are damaged."""

    @property
    def config(self) -> dict[str, object]:
        """Constructor arguments as plain types."""
        return {}

    @staticmethod
    def _is_checkable(given: Tensor) -> bool:
        """Return whether checking values costs little: in a training step on a GPU it would wait for the device."""
        return given.device.type == "cpu" or not torch.is_grad_enabled()

    @staticmethod
    def _each(given: Given, num: int, values: str) -> list[Any]:
        """Return a value per image, of one for all or one per image; raise ValueError for another number."""
        is_sequence = isinstance(given, Iterable) and not isinstance(given, (str, Mapping))
        each = list(given) if is_sequence else [given] * num
        if len(each) != num:
            raise ValueError(f"got {len(each)} {values} for {num} images")
        return each

    def _placed(self, given: Tensor) -> Tensor:
        """Return what is given on the device of the parameters and, if it is real, in their type."""
        first = next(self.parameters())
        return given.to(first) if given.is_floating_point() else given.to(first.device)


class Unconditional(Conditioning):
    """Nothing is known about the images: the conditioning of a flow that has none."""

    features = 0

    def read(self, given: Given, num: int) -> None:
        """Return None; raise ValueError if something is given."""
        if given is not None:
            raise ValueError("this model is unconditional; leave out what is given")

    def forward(self, given: Tensor) -> None:
        """Return None, for no context."""

    def unknown(self, num: int) -> None:
        """Return None."""

    def describe(self) -> None:
        """Return None."""

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> None:
        """Return None."""
