"""Messages: the error that is for the person who typed a command, and words that messages share."""

import difflib
from collections.abc import Iterable

__all__ = ["UsageError", "closest", "format_warning", "pluralise", "printable", "size_text"]


class UsageError(Exception):
    """The command line is wrong; the message is for the person who typed it. Exit code 2."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` for the nearest of the known words, or nothing."""
    known = list(known)
    found = [one for one in known if one.startswith(word)] or _alike(word, known)
    return f"; did you mean {found[0]}?" if found else ""


def _alike(word: str, known: list[str]) -> list[str]:
    # Without the dashes, which make any two options alike.
    bare = {one.lstrip("-"): one for one in known}
    return [bare[one] for one in difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.7)]


def printable(text: object) -> str:
    """Return what a file says as text for a terminal, which signs of control in it would command."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "backslashreplace").decode() for sign in str(text)
    )


def pluralise(number: int, thing: str) -> str:
    """Return a number of things, such as ``1 image`` or ``2,000 images``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size_text(width: int, height: int) -> str:
    """Return the size of a picture, and which number is which where that matters, such as ``28x28``."""
    return f"{width}x{height}" + ("" if width == height else " (width x height)")


def format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """Return a warning as a line of its own, without the place in the code."""
    return f"warning: {printable(' '.join(str(message).split()))}\n"
