"""Attributes as what is known about an image: any of them, with guidance."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from glow_app.bijections import full_precision
from glow_app.conditioning.conditioning import Conditioning, Given
from glow_app.data.attributes import Kind
from glow_app.data.image_set import ImageSet
from glow_app.messages import closest, is_line
from glow_app.nn.shape_checks import require_at_least, require_choice
from glow_app.seeding import draw_rows, step_generator

# Shares of single values and of whole rows that training hides, for the model to learn what holds without them.
_HIDDEN_VALUES = _HIDDEN_ROWS = 0.15
_USUAL_STRENGTH = 1.25  # a little above 1, changes are visible more often
_NUM_ROWS = 8192  # of the training data, evenly spaced, that the model keeps; with fewer, samples vary less


class AttributeConditioning(Conditioning):
    r"""A network of attributes :math:`a`, each known or unknown, with a guidance :math:`w` for yes/no attributes.

    .. math:: c = e(a) + (w - 1)\, (e(a) - e(\bar a))

    In :math:`\bar a`, the yes/no attributes that are asked for are replaced by their shares in the training data.

    What is given is a mapping from names to values, for all images or one per image: 0 or 1 for no or yes, and any real
    number for the other kinds; or a text such as ``smiling, hat=0, age=37.5``. The rest is unknown; samples get it from
    :meth:`of_draws`.

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
    Shape:
        given: (B, A), NaN for unknown; context: (B, E).
    Raises:
        ValueError: If there are no attributes, a name is not a line of text, a kind is unknown, or a size is below 1.
    """

    guided = guarded = True
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
        self.attributes, self.num_attributes = dict(attributes), len(attributes)
        self._circular = [place for place, kind in enumerate(attributes.values()) if kind == "circular"]
        self._straight = [place for place, kind in enumerate(attributes.values()) if kind != "circular"]
        num_inputs = 2 * len(attributes) + len(self._circular)
        self.network = nn.Sequential(nn.Linear(num_inputs, hidden), nn.SiLU(), nn.Linear(hidden, features))
        self.register_buffer("adopted", torch.tensor(False))
        self.register_buffer("mean", torch.full((len(attributes),), 0.5))
        self.register_buffer("std", torch.full((len(attributes),), 0.5))
        self.register_buffer("strengths", torch.full((2, len(attributes)), _USUAL_STRENGTH))
        rows = torch.linspace(0, 1, _NUM_ROWS)[:, None].repeat(1, len(attributes))
        self.register_buffer("rows", torch.where(self._is("yes_no", rows), rows.round(), rows))

    @property
    def features(self) -> int:
        """Size E of the context."""
        return self.network[-1].out_features  # type: ignore[return-value]

    def unknown(self, num: int) -> Tensor:
        """Return rows of which nothing is known, (num, A)."""
        return torch.full((num, self.num_attributes), math.nan)

    def of_draws(self, given: Given, seeds: Sequence[int]) -> Tensor:
        """Return values with the unknown ones from training images, so that answers occur together as in the data.

        They are those of an image that the seed chooses. If its answers contradict those that are given, it takes the
        answers of the image with the most of the given ones and, among these, with the most of its own.
        """
        given = self.unknown(len(seeds)) if given is None else self.read(given, len(seeds))
        generators = [step_generator(seed, 0, "cpu", "attributes") for seed in seeds]
        places = [int(torch.randint(len(self.rows), (), generator=generator)) for generator in generators]
        rows, is_answer, is_open = self.rows.to(given), self._is("yes_no", given), given.isnan()
        drawn = rows[places]
        as_given = (given[:, None] == rows).sum(2)
        as_drawn = ((drawn[:, None] == rows) & is_answer).sum(2)
        fitting = rows[(as_given * len(is_answer) + as_drawn).argmax(1)]
        return given.where(~is_open, fitting.where(is_answer, drawn))

    def read(self, given: Given, num: int) -> Tensor:
        """Return values, (num, A), NaN where unknown, of a mapping for all images, of one per image, or of a tensor.

        Raises:
            ValueError: If there is no such attribute, a value does not fit, or there is not a mapping per image.
        """
        if not isinstance(given, Tensor):
            known = {each["name"]: each for each in self.describe()["attributes"]}
            rows = [self._row(values, known) for values in self._each(given, num, "mappings of attributes")]
            given = torch.tensor(rows).view(num, self.num_attributes)
        if not given.is_floating_point() or given.shape != (num, self.num_attributes):
            shape = f"({num}, {self.num_attributes})"
            raise ValueError(f"attributes are {given.dtype} {tuple(given.shape)}; expected real numbers {shape}")
        if self._is_checkable(given):
            is_no_answer = self._is("yes_no", given) & ~given.isnan() & (given != 0) & (given != 1)
            wrong = (is_no_answer | given.isinf()).any(0).tolist()
            if name := next((name for name, is_wrong in zip(self.attributes, wrong, strict=True) if is_wrong), None):
                expected = "0 or 1" if self.attributes[name] == "yes_no" else "a finite number"
                raise ValueError(f"a value of {name} is not {expected}")
        return given

    def forward(self, given: Tensor) -> Tensor:
        """Return the context, (B, E), from the values, of circular ones sine and cosine, and which are known."""
        known, values = ~given.isnan(), given.nan_to_num()
        scaled = torch.where(self._is("yes_no", given), 2 * values - 1, (values - self.mean) / self.std)
        angles = 2 * math.pi * values[:, self._circular]
        parts = [(scaled * known)[:, self._straight]]
        parts += [wave * known[:, self._circular] for wave in (angles.sin(), angles.cos())]
        with full_precision(given.device):
            context: Tensor = self.network(torch.cat([*parts, known.to(values)], dim=1))
        return context

    def emphasis(self, known: Tensor, asked: Tensor) -> Tensor:
        """Return the context minus that with the shares of the answers that are asked for, (B, E)."""
        is_replaced = self._is("yes_no", asked) & ~asked.isnan()
        return self(known) - self(torch.where(is_replaced, self.mean, known))

    def change(self, known: Tensor, wished: Tensor) -> Tensor:
        r"""Return the change of the context by a wish, one attribute after another, (B, E).

        .. math:: \sum_k r_k\, (e(a_k) - e(a_{k-1}))

        where :math:`a_k` has the first k values of the wish, and :math:`r_k` is one of the :attr:`strengths`.

        Args:
            known: Values, (B, A).
            wished: Values, (B, A), NaN for those to keep.
        """
        known, wished = known.to(self.mean), wished.to(self.mean)
        before = self(known)
        change = torch.zeros_like(before)
        for place, (rise, fall) in enumerate(self.strengths.T):
            value, known = known[:, place], known.clone()
            known[:, place] = wished[:, place].where(~wished[:, place].isnan(), value)
            after = self(known)
            change = change + torch.where(known[:, place] > value, rise, fall)[:, None] * (after - before)
            before = after
        return change

    def observe(self, images: Tensor, labels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return the labels; in training, some of them unknown."""
        if not self.training:
            return labels
        draws = draw_rows(torch.rand, (len(labels), 1 + self.num_attributes), generator, labels.device)
        draws = draws.to(labels.device)
        hidden = (draws[:, :1] < _HIDDEN_ROWS) | (draws[:, 1:] < _HIDDEN_VALUES)
        return labels.masked_fill(hidden, math.nan)

    def with_one_changed(self, given: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return values of which one known attribute per image is another: flipped, or drawn as in the training data.

        Args:
            given: (B, A).
            generator: Source of random numbers, by :func:`~glow_app.seeding.draw_rows`.
        """
        draws = draw_rows(torch.rand, (len(given), 1 + self.num_attributes), generator, given.device).to(given)
        known = ~given.isnan()
        chosen = draws[:, 1:].where(known, -1).argmax(1)
        is_changed = one_hot(chosen, self.num_attributes).bool() & known
        drawn = self.at_quantiles(draws[:, 0])
        return torch.where(is_changed, torch.where(self._is("yes_no", given), 1 - given, drawn), given)

    def at_quantiles(self, levels: Tensor) -> Tensor:
        """Return the quantiles of all attributes in the training data at levels from 0 to 1, (B,), as (B, A)."""
        return self.rows.to(levels).quantile(levels, dim=0)

    def plain(self, given: Tensor | None) -> list[Any]:
        """Return the known values of each image by name; nothing if none is known."""
        rows = [
            {
                name: round(value) if kind == "yes_no" else value
                for (name, kind), value in zip(self.attributes.items(), row, strict=True)
                if not math.isnan(value)
            }
            for row in super().plain(given)
        ]
        return rows if any(rows) else []

    def describe(self) -> dict[str, Any]:
        """Return the kind and, for each attribute, its name, kind, mean (of yes/no its share), and range."""
        ends, facts = (end.tolist() for end in self.rows.aminmax(dim=0)), ("mean", "least", "most")
        ranges = zip(self.attributes.items(), self.mean.tolist(), *ends, strict=True)
        known = [
            {"name": name, "kind": kind}
            | {fact: float(f"{value:.6g}") for fact, value in zip(facts, values, strict=True)}
            for (name, kind), *values in ranges
        ]
        return {"kind": type(self).__name__, "values": [], "attributes": known}

    @torch.no_grad()
    def adopt(self, images: ImageSet) -> None:
        """Take over the statistics of the training data; later data leaves them, since they are part of the model.

        Raises:
            ValueError: If the data has other attributes, or all values of one are unknown.
        """
        if list(images.attributes) != list(self.attributes):
            names, others = (", ".join(kinds) or "none" for kinds in (self.attributes, images.attributes))
            raise ValueError(
                f"the model has the attributes {names}, and the images have {others}; correct data.attributes"
            )
        if self.adopted:
            return
        evenly = torch.linspace(0, 1, len(self.rows))
        for place, (name, column) in enumerate(zip(self.attributes, images.labels.T, strict=True)):
            known = column[~column.isnan()].double()
            if len(known) < 2:
                raise ValueError(f"fewer than two training images have a value of {name}; leave this attribute out")
            self.mean[place], self.std[place] = known.mean(), known.std().clamp(min=1e-6)
            row, other = (values[(evenly * (len(values) - 1)).round().long()] for values in (column, known))
            self.rows[:, place] = row.where(~row.isnan(), other)
        self.adopted.fill_(True)

    def align(self, images: ImageSet) -> ImageSet:
        """Return the images with this model's attributes, unknown if they have none of the name."""
        return images.with_attributes(self.attributes)

    def knows(self, images: ImageSet) -> bool:
        """Return whether the images have this model's attributes, and a value of any is known."""
        return list(images.attributes) == list(self.attributes) and not bool(images.labels.isnan().all())

    @property
    def config(self) -> dict[str, object]:
        """Names and kinds of the attributes, and the sizes of the network."""
        hidden: Any = self.network[0]
        return {"attributes": self.attributes, "features": self.features, "hidden": hidden.out_features}

    def _is(self, kind: Kind, like: Tensor) -> Tensor:
        return torch.tensor([other == kind for other in self.attributes.values()], device=like.device)

    def _row(self, values: Any, known: Mapping[str, dict[str, Any]]) -> list[float]:
        """Return a row of values by name, or of a text, for the facts of :meth:`describe` by name."""
        if isinstance(values, str):
            values = parse_attributes(values.split(","))
        if not isinstance(values, Mapping):
            raise ValueError(f"attributes are {values!r:.40}; expected a mapping from names to values")
        for name, value in values.items():
            if name not in known:
                names = ", ".join(known)
                raise ValueError(f"there is no attribute {name!r:.100}; known: {names}{closest(str(name), known)}")
            largest = torch.finfo(torch.float32).max
            if not isinstance(value, Real) or not abs(value) <= largest:  # type: ignore[operator]  # nor NaN
                raise ValueError(f"{name} is {value!r:.40}; expected a finite number")
            kind, mean, least, most = (known[name][fact] for fact in ("kind", "mean", "least", "most"))
            if isinstance(value, bool) and kind != "yes_no":
                raise ValueError(f"{name} needs a number, such as {name}={mean:.3g}, its mean")
            # Half the range further than the training data is far.
            if kind == "real" and self.adopted and abs(value - (least + most) / 2) > most - least:
                expected = f"about {least:.3g} to {most:.3g}, as in the training data"
                raise ValueError(f"{name} is {value:.6g}; expected {expected}")
        return [float(values.get(name, math.nan)) for name in self.attributes]


def parse_attributes(present: Iterable[str], absent: Iterable[str] = ()) -> dict[str, float]:
    """Return values by name, for :meth:`AttributeConditioning.read`, of names and of texts such as ``age=37.5``.

    Raises:
        ValueError: If an attribute is there twice.
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
