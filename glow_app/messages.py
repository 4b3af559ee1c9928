"""Messages: the error for wrong usage, and helpers for wording."""

import difflib
import unicodedata
from collections.abc import Iterable

_printed: set[str] = set()  # warnings; Python itself forgets them when a filter is added, as libraries do


class UsageError(Exception):
    """Wrong usage of a command; shown as one line, with exit code 2."""


def closest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` for the nearest of the known words, or nothing."""
    # Without the dashes, which make any two options similar.
    bare = {name.lstrip("-"): name for name in known}
    alike = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.7)
    matches = [name for name in bare.values() if name.startswith(word)] or [bare[name] for name in alike]
    return f"; did you mean {matches[0]}?" if matches else ""


def is_line(text: str) -> bool:
    """Return whether a text is one line, without control characters or bytes that are no text."""
    return not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)


def printable(text: object) -> str:
    """Return text from a file with control characters escaped, which a terminal would obey."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in str(text)
    )


def pluralise(number: int, thing: str) -> str:
    """Return a number with its noun, such as ``1 image`` or ``2,000 images``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size_text(width: int, height: int) -> str:
    """Return the size of a picture, such as ``28x28`` or ``64x32 (width x height)``."""
    return f"{width}x{height}" + ("" if width == height else " (width x height)")


def format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """Return a warning as one line, without the source location; nothing if the process has printed it before."""
    line = f"warning: {printable(' '.join(str(message).split()))}\n"
    if line in _printed:
        return ""
    _printed.add(line)
    return line
