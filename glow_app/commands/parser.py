"""The parser of commands: options in full, errors of one line; and numbers, whose errors say what was expected."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from glow_app.messages import UsageError, closest
from glow_app.numeric_limits import LARGEST_SEED

__all__ = ["Parser", "fitting", "number", "positive_int", "seed_number", "whole_number"]

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


def fitting(text: str, kind: Callable[[str], Number], fits: Callable[[Number], bool], message: str) -> Number:
    """Return the number that a text is; raise the message, after the text, if it is no number or does not fit."""
    try:
        value = kind(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} {message}") from error
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text} {message}")
    return value


def whole_number(text: str) -> int:
    """Return a whole number, for argparse."""
    return fitting(text, int, lambda _: True, "is not a whole number")


def number(text: str) -> float:
    """Return a number, for argparse; NaN and infinities are numbers here."""
    return fitting(text, float, lambda _: True, "is not a number")


def positive_int(text: str) -> int:
    """Return a whole number from 1, for argparse."""
    return fitting(text, int, lambda value: value >= 1, "must be a whole number, at least 1")


def seed_number(text: str) -> int:
    """Return a seed, for argparse."""
    return fitting(text, int, lambda value: 0 <= value <= LARGEST_SEED, f"is not a seed; expected 0 to {LARGEST_SEED}")
