"""Numbers on the command line: types for argparse, whose errors say what was expected instead of naming a function."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from glow_app.numeric_limits import LARGEST_SEED

__all__ = ["fitting", "number", "positive_int", "seed_number", "whole_number"]

Number = TypeVar("Number", int, float)


def fitting(text: str, kind: Callable[[str], Number], fits: Callable[[Number], bool], message: str) -> Number:
    """Return the number that a text is.

    Args:
        text: From the command line.
        kind: ``int`` or ``float``.
        fits: Called with the number.
        message: What to say after the text, if it is no number or does not fit.
    Raises:
        ArgumentTypeError: If so.
    """
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
