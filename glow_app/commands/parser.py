"""The parser of commands, with options that several commands share, and number types with helpful errors."""

import argparse
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from glow_app.files import FORMAT_OF, require_folder
from glow_app.messages import UsageError, closest
from glow_app.numeric_limits import LARGEST_GUIDANCE, LARGEST_SEED, LARGEST_TEMPERATURE
from glow_app.storage.model_folders import DEFAULT_MODEL

Number = TypeVar("Number", int, float)


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds informative defaults to the help."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        has_default = not isinstance(action.default, list | None) and action.default is not False
        return super()._get_help_string(action) if has_default else action.help


class StoreOnce(argparse.Action):
    """Stores a value, and refuses a second one, for which argparse would drop the first silently."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: str | None = None) -> None:
        """Store the value of the option."""
        if getattr(namespace, self.dest) != self.default:
            raise argparse.ArgumentError(self, "it is given twice; give it once")
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """An argparse parser that refuses abbreviations, suggests close matches, and raises instead of exiting."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **kwargs)
        self.register("type", None, _not_empty)  # for all arguments without a type

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse ``arguments``; raise UsageError if one is unknown, missing or invalid."""
        parsed, unknown = self.parse_known_args(arguments)
        if unknown:
            word = unknown[0].split("=")[0]
            hint = closest(word, self.option_strings()) if word.startswith("-") else ""
            self.error(f"unknown argument {word}{hint}")
        return parsed

    def option_strings(self) -> list[str]:
        """Return all options, such as ``--seed``."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Raise the message as a :class:`UsageError`."""
        takes_all = message.endswith("required: PICTURE") and "--given" in self._option_string_actions
        raise UsageError(f"{self.prog}: {message}{', before --given' if takes_all else ''}")

    def add_model_arguments(self, default: str | None = DEFAULT_MODEL) -> None:
        """Add ``--checkpoint``, which is required without a default, and ``--device``."""
        self.add_argument(
            "--checkpoint",
            default=default,
            required=default is None,
            help="model: a .ckpt file, an exported folder, a run folder, a folder of runs (the newest is used), "
            "hf://USER/NAME, or a name that glow models lists",
            metavar="PATH",
        )
        self.add_argument("--device", default="auto", help="device: auto, cpu, gpu, cuda:1 or mps")

    def add_output_arguments(self, *files: str) -> None:
        """Add ``--output``, a folder or, with examples such as NAME.png, a file of a picture; and ``--overwrite``."""
        place, default = f"output folder{_or_files(files)}", Path("outputs", self.prog.split()[1])
        self.add_argument("--output", type=_output(files), default=default, help=place, metavar="FOLDER")
        self.add_argument("--overwrite", action="store_true", help="replace existing files")

    def add_temperature_argument(self, default: str) -> None:
        """Add ``--temperature``, of all levels or of each."""
        factor = "factor of the noise from 0 to 100, or one per level: 0.7,0.9,1.0; more makes pictures vary more"
        restoring = "restoring gives the best guess at 0, and above it invents more detail"
        text = f"{factor}; {restoring} (default: {default})"
        self.add_argument("--temperature", type=temperatures, help=text, metavar="T[,T...]")

    def add_given_argument(self, default: str = "by their folders' names, or inferred") -> None:
        """Add ``--given``, for :func:`~glow_app.commands.input_pictures.given_batches`."""
        text = "what the pictures show, such as a class by name or number: one value for all, or one for each"
        self.add_argument("--given", nargs="+", help=f"{text} (default: {default})", metavar="VALUE")

    def add_attribute_arguments(self) -> None:
        """Add ``--with`` and ``--without``, for :func:`~glow_app.commands.loading.read_chosen_attributes`."""
        wanted = "attribute to show, such as smiling or hair_lightness=0.2; repeatable"
        self.add_argument("--with", dest="present", action="append", help=wanted, metavar="NAME[=NUMBER]")
        unwanted = "attribute to leave out; repeatable"
        self.add_argument("--without", dest="absent", action="append", help=unwanted, metavar="NAME")

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


def _output(files: Sequence[str]) -> Callable[[str], Path]:
    """Return a type for argparse: a folder for results or, with examples, the file of a picture or one like these."""
    suffixes = {*FORMAT_OF, *(Path(file).suffix for file in files)} if files else ()

    def parse(text: str) -> Path:
        path = Path(_not_empty(text))
        try:
            if path.suffix.lower() not in suffixes:
                require_folder(path)
        except (FileExistsError, UsageError) as error:
            raise argparse.ArgumentTypeError(f"{error}{_or_files(files)}") from error
        return path

    return parse


def _or_files(files: Sequence[str]) -> str:
    return f", or a file for one picture, such as {' or '.join(files)}" if files else ""


def number_type(
    kind: Callable[[str], Number], least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf
) -> Callable[[str], Number]:
    """Return a type for argparse: numbers of ``kind`` from ``least``, or above ``above``, to ``most``."""
    bounds = f"from {least:.0f} to {most:.0f}"
    if above > -math.inf:
        bounds = f"above {above:.0f} and at most {most:.0f}"
    elif most == math.inf:
        bounds = f"of at least {least:.0f}"
    noun = "a whole number" if kind is int else "a number"

    def parse(text: str) -> Number:
        with suppress(ValueError):
            if least <= (value := kind(text)) <= most and value > above:  # neither is NaN
                return value
        raise argparse.ArgumentTypeError(f"must be {noun} {bounds}, got {text!r}")

    return parse


positive_int = number_type(int, 1)
seed_number = number_type(int, 0, LARGEST_SEED)
temperature = number_type(float, 0, LARGEST_TEMPERATURE)
guidance = number_type(float, 0, LARGEST_GUIDANCE)


def temperatures(text: str) -> float | list[float]:
    """Parse a temperature, or several separated by commas, for argparse."""
    values = [temperature(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def require_seeds(first: int, count: int) -> None:
    """Raise UsageError if the last of ``count`` seeds would exceed the largest."""
    last = first + count - 1
    if last > LARGEST_SEED:
        raise UsageError(f"the last seed is {last}; expected at most {LARGEST_SEED}: use a lower --seed")
