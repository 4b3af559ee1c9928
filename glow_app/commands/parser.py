"""The parser of commands, with the options that several share; and numbers, whose errors say what was expected."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from glow_app.messages import UsageError, closest
from glow_app.models.generation_settings import LARGEST_GUIDANCE, LARGEST_TEMPERATURE
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.storage.places import DEFAULT_MODEL

Number = TypeVar("Number", int, float)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds defaults to the help where they say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return (
            action.help if action.default in (None, []) or action.default is False else super()._get_help_string(action)
        )


class Parser(argparse.ArgumentParser):
    """An argparse parser that refuses abbreviations, suggests what was meant, and raises instead of exiting."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)
        self.register("type", None, _not_empty)  # of all arguments that name no type

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse ``arguments``.

        Raises:
            UsageError: If one is unknown, missing or has no valid value.
        """
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            word = unknown[0].split("=")[0]
            hint = closest(word, self._option_string_actions) if word.startswith("-") else ""
            self.error(f"unknown argument {word}{hint}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Raise the message as a :class:`UsageError`."""
        raise UsageError(f"{self.prog}: {message}")

    def add_model_arguments(self) -> None:
        """Add ``--checkpoint`` and ``--device``."""
        self.add_argument(
            "--checkpoint",
            type=str,  # an empty one too, which is refused as in Python
            default=DEFAULT_MODEL,
            help="model: a .ckpt file, an exported folder, a run folder, a folder of runs (the newest is taken), "
            "hf://USER/NAME, or a name that glow models lists",
            metavar="PATH",
        )
        self.add_argument("--device", default="auto", help="device: auto, cpu, gpu, cuda:1 or mps")

    def add_label_argument(self, text: str, several: bool = False) -> None:
        """Add ``--label``, which ``load`` makes numbers of; ``text`` says what the class is of, and the default."""
        nargs = "+" if several else None
        self.add_argument("--label", nargs=nargs, help=f"number or name of the {text}", metavar="CLASS")

    def add_output_arguments(self, default: str) -> None:
        """Add ``--output`` and ``--overwrite``."""
        self.add_argument("--output", default=default, help="output folder", metavar="FOLDER")
        self.add_argument("--overwrite", action="store_true", help="replace existing files")

    def add_batch_size_argument(self, default: int = 16) -> None:
        """Add ``--batch-size``."""
        self.add_argument("--batch-size", type=positive_int, default=default, help="images per batch")


def _not_empty(text: str) -> str:
    """Return a text for argparse; an empty one is refused, since as a path it would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty, perhaps from an unset shell variable; give a value")
    return text


def number_type(
    kind: Callable[[str], Number], message: str, fits: Callable[[Number], bool] = lambda _: True
) -> Callable[[str], Number]:
    """Return a type for argparse: numbers of a kind that fit; of others it raises the message, after the text."""

    def read(text: str) -> Number:
        with suppress(ValueError):
            if fits(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text} {message}")

    return read


whole_number = number_type(int, "is not a whole number")
number = number_type(float, "is not a number")  # NaN and infinities too
positive_int = number_type(int, "must be a whole number, at least 1", lambda value: value >= 1)
seed_number = number_type(int, f"is not a seed; expected 0 to {LARGEST_SEED}", lambda value: 0 <= value <= LARGEST_SEED)
temperature = number_type(
    float,
    f"is not a temperature; expected a number from 0 to {LARGEST_TEMPERATURE:g} (0.7 is usual)",
    lambda value: 0 <= value <= LARGEST_TEMPERATURE,
)

guidance = number_type(
    float,
    f"is not a guidance; expected a number from 0 to {LARGEST_GUIDANCE:g} (1 is the model itself)",
    lambda value: 0 <= value <= LARGEST_GUIDANCE,
)


def temperatures(text: str) -> float | list[float]:
    """Return one temperature or, separated by commas, several, for argparse."""
    values = [temperature(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def require_seeds(first: int, count: int) -> None:
    """Raise UsageError if the last of so many seeds would be above the largest."""
    last = first + count - 1
    if last > LARGEST_SEED:
        raise UsageError(f"the last seed is {last}; expected at most {LARGEST_SEED}: lower --seed or --count")
