"""Settings for sampling from a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from glow_app.numeric_limits import LARGEST_GUIDANCE, LARGEST_TEMPERATURE


@dataclass(frozen=True)
class GenerationSettings:
    """Settings for sampling from a model; its defaults in the command, the API, the page and Python.

    Args:
        temperature: Factor of the base noise, for all levels, or a tuple with a factor per level, finest first.
        guidance: Factor of what is given, as for :meth:`LoadedModel.sample
            <glow_app.pipeline.loaded_model.LoadedModel.sample>`.
    Raises:
        ValueError: If a temperature is not a number from 0 to 100, or the guidance not one from 0 to 10.
    """

    temperature: float | tuple[float, ...] = 0.7
    guidance: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if hasattr(value, "tolist"):  # a number or array of NumPy, or a tensor
                object.__setattr__(self, name, value.tolist())
        if isinstance(self.temperature, list):
            object.__setattr__(self, "temperature", tuple(self.temperature))
        values = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        if not values:
            raise ValueError("temperature is empty; expected a number, or one per level")
        for name, value in (("guidance", self.guidance), *(("temperature", value) for value in values)):
            largest = LARGEST_TEMPERATURE if name == "temperature" else LARGEST_GUIDANCE
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= largest:  # neither is NaN
                raise ValueError(f"{name} is {value!r:.80}; expected a number from 0 to {largest:g}")

    def check(self, num_levels: int, is_guided: bool) -> None:
        """Raise ValueError if the number of temperatures is wrong for a model, or the model takes no guidance."""
        self.temperatures(num_levels)
        if self.guidance != 1 and not is_guided:
            raise ValueError(f"guidance is {self.guidance:g}, but this model takes none; leave it out")

    def temperatures(self, num_levels: int) -> list[float]:
        """Return the temperature of each level; raise ValueError if there are neither 1 nor ``num_levels``."""
        values = list(self.temperature) if isinstance(self.temperature, tuple) else [self.temperature] * num_levels
        if len(values) != num_levels:
            raise ValueError(f"got {len(values)} temperatures; expected 1, or {num_levels}, one per level")
        return values

    def __str__(self) -> str:
        values = self.temperature if isinstance(self.temperature, tuple) else [self.temperature]
        guided = "" if self.guidance == 1 else f" and guidance {self.guidance:g}"
        return f"temperature {', '.join(f'{value:g}' for value in values)}{guided}"

    def override(self, temperature: float | Sequence[float] | None, guidance: float | None) -> Self:
        """Return the settings with the given values replaced; raise ValueError if one is out of range."""
        return type(self)(
            self.temperature if temperature is None else temperature,  # type: ignore[arg-type]  # made a tuple
            self.guidance if guidance is None else guidance,
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the settings as plain types for JSON: the temperature, and the guidance if it is not 1."""
        temperature = list(self.temperature) if isinstance(self.temperature, tuple) else self.temperature
        return {"temperature": temperature} | ({} if self.guidance == 1 else {"guidance": self.guidance})

    def facts_of_draws(self, seeds: Sequence[int], given: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Return the metadata of images: the seed of each, these settings, and what each was given, if anything."""
        facts = [{"given": value} for value in given] or [{}] * len(seeds)
        return [{"seed": seed, **self.to_plain(), **fact} for seed, fact in zip(seeds, facts, strict=True)]

    @classmethod
    def from_plain(cls, plain: Any) -> Self:
        """Return the settings from :meth:`to_plain`, perhaps of an untrusted file; raise ValueError if damaged."""
        if not isinstance(plain, dict) or not plain.keys() <= {"temperature", "guidance"}:
            raise ValueError("expected an object of temperature and guidance")
        return cls(**plain)
