"""Attributes as what is known about an image: a network of any of them, with guidance; and their names and ranges."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glow_app.bijections import full_precision
from glow_app.conditioning.conditioning import Conditioning
from glow_app.conditioning.picture_reader import PictureReader
from glow_app.conditioning.vocabulary import Vocabulary
from glow_app.data.attributes import Kind
from glow_app.data.image_set import ImageSet
from glow_app.messages import closest, is_line
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.seeding import draw_rows, step_generator
from glow_app.spec import register

# Shares of single values and of whole rows that training hides, so that the model learns to do without them.
_HIDDEN_VALUES = _HIDDEN_ROWS = 0.15
_NUM_ROWS = 8192  # of the training data, evenly spaced, that the model keeps; with fewer, samples vary less


@register("attributes")
class AttributeConditioning(Conditioning):
    r"""A network of attributes :math:`a`, each known or unknown, with a guidance :math:`w` for yes/no attributes.

    .. math:: c = e(a) + (w - 1)\, (e(a) - e(\bar a))

    In :math:`\bar a`, the yes/no attributes that are given are replaced by their shares in the training data.

    Args:
        attributes: Kind of each of the A attributes by its name: "yes_no", "real", or "circular" for a real one whose
            values 0 and 1 are the same, such as a hue.
        features: Size :math:`E` of the context.
        hidden: Width of the network's hidden layer.
    Attributes:
        mean: Mean of each attribute in the training data, (A,); of a yes/no attribute its share.
        std: Standard deviation of each attribute, (A,).
        strengths: Usual factors by which an edit changes the context for each attribute: for yes or a larger value, and
            for no or a smaller one, (2, A).
        rows: Attributes of evenly spaced training images, (R, A), the unknown ones from other images.
        adopted: Whether these are those of training data.
    Shape:
        given: (B, A), NaN for unknown; context: (B, E).
    Raises:
        ValueError: If there are no attributes, a name is not a line of text, a kind is unknown, or a size is below 1.
    """

    adopted: Tensor
    mean: Tensor
    std: Tensor
    strengths: Tensor
    rows: Tensor

    def __init__(self, attributes: dict[str, Kind], features: int = 32, hidden: int = 64) -> None:
        super().__init__()
        require_at_least(1, features=features, hidden=hidden, attributes=len(attributes))
        for name, kind in attributes.items():
            require_choice(get_args(Kind), kind=kind)
            if not isinstance(name, str) or not is_line(name):
                raise ValueError(f"{name!r:.40} is not a name of an attribute; expected a line of text")
        self.attributes, self.features, self.hidden = dict(attributes), features, hidden
        self._circular = [place for place, kind in enumerate(attributes.values()) if kind == "circular"]
        self._straight = [place for place, kind in enumerate(attributes.values()) if kind != "circular"]
        self._columns = [*self._straight, *self._circular, *self._circular]  # of :meth:`_scaled`
        num_inputs = len(self._columns) + len(attributes)
        self.network = nn.Sequential(nn.Linear(num_inputs, hidden), nn.SiLU(), nn.Linear(hidden, features))
        with torch.random.fork_rng(devices=[]):  # so that the reader changes no other initial weight
            self.reader = PictureReader(len(self._columns))
        self.register_buffer("adopted", torch.tensor(False))
        # Of lists and arrays: on the meta device, where models are rebuilt, torch.full would import torch's compiler.
        self.register_buffer("mean", torch.tensor([0.5] * len(attributes)))
        self.register_buffer("std", torch.tensor([0.5] * len(attributes)))
        # Above 1, changes are visible more often.
        self.register_buffer("strengths", torch.tensor([[1.25] * len(attributes)] * 2))
        evenly = np.linspace(0, 1, _NUM_ROWS, dtype=np.float32)
        columns = [evenly.round() if kind == "yes_no" else evenly for kind in attributes.values()]
        self.register_buffer("rows", torch.from_numpy(np.stack(columns, axis=1)))

    def is_yes_no(self, like: Tensor) -> Tensor:
        """Return which attributes are yes or no, (A,), on the device of a tensor."""
        return torch.tensor([kind == "yes_no" for kind in self.attributes.values()], device=like.device)

    @torch.no_grad()
    def set_statistics(self, labels: Tensor) -> None:
        """Set mean, deviation and rows from the attributes of the training images, (N, A), two known of each."""
        evenly = torch.linspace(0, 1, len(self.rows))
        for place, column in enumerate(labels.T):
            known = column[~column.isnan()].double()
            self.mean[place], self.std[place] = known.mean(), known.std().clamp(min=1e-6)
            row, other = (values[(evenly * (len(values) - 1)).round().long()] for values in (column, known))
            self.rows[:, place] = row.where(~row.isnan(), other)
        self.adopted.fill_(True)

    def forward(self, given: Tensor) -> Tensor:
        """Return the context, (B, E), from the values, of circular ones sine and cosine, and which are known."""
        is_known = ~given.isnan()
        inputs = [self._scaled(given.nan_to_num()) * is_known[:, self._columns], is_known.to(given)]
        with full_precision(given.device):
            return self.network(torch.cat(inputs, dim=1))

    def _scaled(self, values: Tensor) -> Tensor:
        """Return -1 or 1 for no or yes, standardised real values, and the sine and cosine of circular ones."""
        scaled = torch.where(self.is_yes_no(values), 2 * values - 1, (values - self.mean) / self.std)
        angles = 2 * math.pi * values[:, self._circular]
        return torch.cat([scaled[:, self._straight], angles.sin(), angles.cos()], dim=1)

    def reading_loss(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of the reader, (B,): logistic for yes or no, and the squared error of other known values."""
        answers, truth = self.reader(images, generator), self._scaled(labels.nan_to_num())
        is_yes_no = self.is_yes_no(labels)[self._columns]
        losses = torch.where(is_yes_no, F.softplus(-truth * answers), (answers - truth).square())
        return (losses * ~labels.isnan()[:, self._columns]).mean(1)

    @torch.no_grad()
    def read(self, images: Tensor) -> Tensor:
        """Return the attributes that images, uint8 (B, C, H, W), seem to show, in the range of the training data."""
        answers = self.reader(images.to(self.mean.device))
        straight, sine, cosine = answers.split([len(self._straight), len(self._circular), len(self._circular)], dim=1)
        values = torch.empty(len(images), len(self.attributes)).to(answers)
        values[:, self._straight] = straight
        values = torch.where(self.is_yes_no(values), values > 0, values * self.std + self.mean)
        values[:, self._circular] = torch.atan2(sine, cosine) / (2 * math.pi) % 1
        return values.clamp(*self.rows.aminmax(dim=0))

    def farthest(self, given: Tensor, changed: Tensor) -> Tensor:
        """Return changed values, (B, A), moved on to the end of the training data's, or half the way round a circle."""
        least, most = self.rows.aminmax(dim=0)
        moved = torch.where(changed > given, changed.maximum(most), changed.minimum(least))
        moved[:, self._circular] = (given[:, self._circular] + 0.5) % 1
        return moved.where(changed != given, given)

    def unknown(self, num: int) -> Sequence[Tensor]:
        """Return rows of which nothing is known, (num, A)."""
        return [torch.full((num, len(self.attributes)), math.nan)]

    def guidance(self, filled: Tensor, given: Tensor) -> Tensor:
        """Return the context minus that with the shares of the answers that are given, or of all if none is, (B, E)."""
        is_given, is_filled = (self.is_yes_no(values) & ~values.isnan() for values in (given, filled))
        is_replaced = torch.where(is_given.any(1, keepdim=True), is_given, is_filled)
        return self(filled) - self(torch.where(is_replaced, self.mean, filled))

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the labels; in training, some of them unknown."""
        if not self.training:
            return labels
        draws = draw_rows(torch.rand, (len(labels), 1 + len(self.attributes)), generator, labels.device)
        hidden = (draws[:, :1] < _HIDDEN_ROWS) | (draws[:, 1:] < _HIDDEN_VALUES)
        return labels.masked_fill(hidden.to(labels.device), math.nan)

    def vocabulary(self) -> "AttributeVocabulary":
        """Return the vocabulary of the attributes, by name."""
        return AttributeVocabulary(self)


class AttributeVocabulary(Vocabulary):
    """Attributes by name.

    A value is a mapping from names to values: 0 or 1 for no or yes, and any real number for the other kinds; or a text
    such as ``smiling, hat=0, age=37.5``, or ``smiling, no hat, age 37.5`` as in metadata. The rest is unknown; samples
    get it from :meth:`default`. The network stores their statistics.
    """

    conditioning: AttributeConditioning

    @property
    def names(self) -> list[str]:
        """The names of the attributes."""
        return list(self.conditioning.attributes)

    def value(self, value: Any) -> np.ndarray:
        """Return the row of a mapping from names to values, or of a text, (A,), NaN where unknown."""
        if isinstance(value, str):
            names = "|".join(map(re.escape, self.names))
            value = re.sub(rf"(^|,) *no ({names}) *(?=,|$)", r"\1\2=0", value)
            value = parse_attributes(re.sub(rf"(^|,) *({names}) +(?=[-.\d])", r"\1\2=", value).split(","))
        if not isinstance(value, Mapping):
            raise ValueError(f"attributes are {value!r:.40}; expected a mapping from names to values")
        described = {each["name"]: each for each in self.describe()["attributes"]}
        for name, number in value.items():
            if name not in described:
                names = ", ".join(described)
                raise ValueError(f"there is no attribute {name!r:.100}; known: {names}{closest(str(name), described)}")
            self._check_number(number, **described[name])
        return np.array([value.get(name, math.nan) for name in described], np.float32)

    def _check_number(self, value: Any, name: str, kind: str, mean: float, least: float, most: float) -> None:
        is_number = isinstance(value, Real)
        if not is_number or not abs(value) <= torch.finfo(torch.float32).max:  # nor is NaN
            raise ValueError(f"{name} is {value!r:.40}; expected a finite number")
        if isinstance(value, bool) and kind != "yes_no":
            raise ValueError(f"{name} needs a number, such as {name}={mean:.3g}, its mean")
        # Half the range further than the training data is far.
        if kind == "real" and self.conditioning.adopted and abs(value - (least + most) / 2) > most - least:
            raise ValueError(f"{name} is {value:.6g}; expected about {least:.3g} to {most:.3g}, as in training")

    def check(self, given: Tensor) -> None:
        """Raise ValueError unless the tensor is (B, A), yes/no attributes 0, 1 or NaN, and others finite or NaN."""
        if not given.is_floating_point() or given.shape[1:] != (len(self.names),):
            shape = f"(B, {len(self.names)})"
            raise ValueError(f"attributes are {given.dtype} {tuple(given.shape)}; expected real numbers {shape}")
        is_no_answer = self.conditioning.is_yes_no(given) & ~given.isnan() & (given != 0) & (given != 1)
        for name, is_wrong in zip(self.names, (is_no_answer | given.isinf()).any(0).tolist(), strict=True):
            if is_wrong:
                expected = "0 or 1" if self.conditioning.attributes[name] == "yes_no" else "a finite number"
                raise ValueError(f"a value of {name} is not {expected}")

    def format(self, given: Tensor | None) -> list[Any]:
        """Return the known values of each image by name; nothing if none is known."""
        kinds = self.conditioning.attributes.items()
        rows = [
            {
                name: round(value) if kind == "yes_no" else value
                for (name, kind), value in zip(kinds, row, strict=True)
                if not math.isnan(value)
            }
            for row in super().format(given)
        ]
        return rows if any(rows) else []

    def default(self, seeds: Sequence[int], given: Tensor | None = None) -> Tensor:
        """Return values with the unknown ones from training images, so that answers occur together as in the data.

        They are those of an image that the seed chooses. If its answers contradict those that are given, it takes the
        answers of the image with the most of the given ones and, among these, with the most of its own.
        """
        given = torch.full((len(seeds), len(self.names)), math.nan) if given is None else given
        generators = [step_generator(seed, 0, "cpu", "attributes") for seed in seeds]
        all_rows = self.conditioning.rows.to(given)
        places = [int(torch.randint(len(all_rows), (), generator=generator)) for generator in generators]
        drawn, is_answer = all_rows[places], self.conditioning.is_yes_no(given)
        as_given = (given[:, None] == all_rows).sum(2)
        as_drawn = ((drawn[:, None] == all_rows) & is_answer).sum(2)
        fitting = all_rows[(as_given * len(is_answer) + as_drawn).argmax(1)]
        return given.where(~given.isnan(), fitting.where(is_answer, drawn))

    def describe(self) -> dict[str, Any]:
        """Return the kind and, for each attribute, its name, kind, mean (of yes/no its share), and range."""
        columns = (self.conditioning.mean, *self.conditioning.rows.aminmax(dim=0))
        rounded = [[float(f"{value:.6g}") for value in column.tolist()] for column in columns]
        attributes = [
            {"name": name, "kind": kind, "mean": mean, "least": least, "most": most}
            for (name, kind), mean, least, most in zip(self.conditioning.attributes.items(), *rounded, strict=True)
        ]
        return super().describe() | {"attributes": attributes}  # type: ignore[operator]

    def learn(self, images: ImageSet) -> None:
        """Learn the statistics of the training data; later data leaves them, since they are part of the model.

        Raises:
            ValueError: If the data has other attributes, or fewer than two values of one are known.
        """
        if list(images.attributes) != self.names:
            names, others = (", ".join(kinds) or "none" for kinds in (self.names, images.attributes))
            raise ValueError(
                f"the model has the attributes {names}, and the images have {others}; correct data.attributes"
            )
        if self.conditioning.adopted:
            return
        for name, num_known in zip(self.names, (~images.labels.isnan()).sum(0).tolist(), strict=True):
            if num_known < 2:
                raise ValueError(f"fewer than two training images have a value of {name}; leave this attribute out")
        self.conditioning.set_statistics(images.labels)

    def relabel(self, images: ImageSet) -> ImageSet:
        """Return the images with this model's attributes, unknown if they have none of the name."""
        return images.with_attributes(self.conditioning.attributes)

    def has_labels(self, images: ImageSet) -> bool:
        """Return whether the images have this model's attributes, and a value of any is known."""
        return list(images.attributes) == self.names and not bool(images.labels.isnan().all())


def parse_attributes(present: Iterable[str], absent: Iterable[str] = ()) -> dict[str, float]:
    """Return values by name, for :meth:`AttributeVocabulary.parse`, of names and of texts such as ``age=37.5``.

    Raises:
        ValueError: If an attribute is named twice.
    """
    values: dict[str, float] = {}
    answers: list[tuple[str, float]] = [*((text, True) for text in present), *((text, False) for text in absent)]
    for text, answer in answers:
        name, value = text.strip(), answer
        start, _, number = name.rpartition("=")
        if start and answer:
            with suppress(ValueError):  # then it is a name with an equals sign
                name, value = start, float(number)
        if name in values:
            raise ValueError(f"{name:.100} is given twice; expected it once")
        values[name] = value
    return values
