"""The parser of commands, with options that several commands share, and number types with helpful errors."""

import argparse
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from glow_app.files import require_folder
from glow_app.messages import UsageError, closest
from glow_app.models.generation_settings import LARGEST_GUIDANCE, LARGEST_TEMPERATURE
from glow_app.numeric_limits import LARGEST_SEED
from glow_app.storage.model_folders import DEFAULT_MODEL

Number = TypeVar("Number", int, float)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds informative defaults to the help."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = action.default not in (None, []) and action.default is not False
        return super()._get_help_string(action) if has_default else action.help


class Parser(argparse.ArgumentParser):
    """An argparse parser that refuses abbreviations, suggests close matches, and raises instead of exiting."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)
        self.register("type", None, _not_empty)  # for all arguments without a type

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse ``arguments``.

        Raises:
            UsageError: If an argument is unknown, missing or invalid.
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
            type=str,  # accepts an empty string, which is refused later, as in Python
            default=DEFAULT_MODEL,
            help="model: a .ckpt file, an exported folder, a run folder, a folder of runs (the newest is taken), "
            "hf://USER/NAME, or a name that glow models lists",
            metavar="PATH",
        )
        self.add_argument("--device", default="auto", help="device: auto, cpu, gpu, cuda:1 or mps")

    def add_label_argument(self, text: str, several: bool = False) -> None:
        """Add ``--label``; ``text`` is the help after "number or name of the"."""
        nargs = "+" if several else None
        self.add_argument("--label", nargs=nargs, help=f"number or name of the {text}", metavar="CLASS")

    def add_output_arguments(self, default: str | None = None) -> None:
        """Add ``--output``, which is required without a default, and ``--overwrite``."""
        options: dict[str, Any] = {"type": _folder, "default": default, "required": default is None}
        self.add_argument("--output", **options, help="output folder", metavar="FOLDER")
        self.add_argument("--overwrite", action="store_true", help="replace existing files")

    def add_directions_argument(self) -> None:
        """Add ``--directions``."""
        text = "folder of directions (default: directions/ beside the model)"
        self.add_argument("--directions", help=text, metavar="FOLDER")

    def add_batch_size_argument(self, default: int = 16) -> None:
        """Add ``--batch-size``."""
        self.add_argument("--batch-size", type=positive_int, default=default, help="images per batch")


def _not_empty(text: str) -> str:
    """Return a string for argparse, unless it is empty, which as a path would mean the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the value is empty, perhaps an unset shell variable")
    return text


def _folder(text: str) -> Path:
    """Return the folder for results, for argparse; refuse a file, and a name such as ``strip.png``."""
    try:
        require_folder(folder := Path(_not_empty(text)))
    except (FileExistsError, UsageError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return folder


def number_type(
    kind: Callable[[str], Number], message: str, fits: Callable[[Number], bool] = lambda _: True
) -> Callable[[str], Number]:
    """Return a type for argparse: numbers of ``kind`` that fit; for others, the error is the text and ``message``."""

    def parse(text: str) -> Number:
        with suppress(ValueError):
            if fits(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text} {message}")

    return parse


whole_number = number_type(int, "is not a whole number")
number = number_type(float, "is not a number")  # accepts NaN and infinities
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
    """Parse a temperature, or several separated by commas, for argparse."""
    values = [temperature(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def require_seeds(first: int, count: int) -> None:
    """Raise UsageError if the last of ``count`` seeds would exceed the largest."""
    last = first + count - 1
    if last > LARGEST_SEED:
        raise UsageError(f"the last seed is {last}; expected at most {LARGEST_SEED}: lower --seed or --count")
