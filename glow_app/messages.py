"""The error for wrong usage, and helpers for the wording of messages."""

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

failures: list[str] = []  # lines of a command that went on, whose exit code is 1
_printed: set[str] = set()  # Python's own record of warnings is reset when a library adds a filter


class UsageError(Exception):
    """Wrong usage of a command; shown as one line, with exit code 2."""


def closest(word: str, choices: Iterable[str]) -> str:
    """Return ``; did you mean ...?`` with the closest choice, or an empty string."""
    # Dashes are ignored, because they make all options similar; the first letter is seldom wrong.
    bare = {name.lstrip("-"): name for name in choices if name.lstrip("-")[:1] == word.lstrip("-")[:1]}
    alike = difflib.get_close_matches(word.lstrip("-"), bare, n=1, cutoff=0.7)
    matches = [name for name in bare.values() if name.startswith(word)] or [bare[name] for name in alike]
    return f"; did you mean {matches[0]}?" if matches else ""


def in_words(given: object) -> str:
    """Return what an image was given as text, of attributes such as ``smiling, no hat, hair_lightness 0.2``."""
    if not isinstance(given, Mapping):
        return str(given)
    words = (
        f"{name} {round(value, 3):g}" if isinstance(value, float) else name if value else f"no {name}"
        for name, value in given.items()
    )
    return ", ".join(words)


def all_in_words(given: Sequence[object]) -> str:
    """Return what each of several images was given as text."""
    return ("; " if any(isinstance(value, Mapping) for value in given) else ", ").join(map(in_words, given))


def is_line(text: str) -> bool:
    """Return whether a text is a single line without control characters and surrogates (undecodable bytes)."""
    return not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in text)


def printable(text: object) -> str:
    """Return a text with control characters escaped, so that text from files cannot control a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode() for char in str(text)
    )


def pluralise(number: int, noun: str) -> str:
    """Return a number with a noun, such as ``1 image`` or ``2,000 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size_text(width: int, height: int) -> str:
    """Return the size of a picture, such as ``28x28`` or ``64x32 (width x height)``."""
    return f"{width}x{height}" + ("" if width == height else " (width x height)")


def image_text(channels: int, height: int, width: int) -> str:
    """Return the shape of images, such as ``28x28 grey``."""
    return f"{width}x{height} {({1: 'grey', 3: 'colour'}).get(channels, f'{channels} channels')}"


def format_warning(message: Warning | str, *_: object, **__: object) -> str:
    """Return a warning as a line without its source location; an empty string if it was printed before."""
    line = f"warning: {printable(' '.join(str(message).split()))}\n"
    if line in _printed:
        return ""
    _printed.add(line)
    return line


def report_failure(line: str) -> None:
    """Print what failed, such as one of several pictures, while a command goes on; its exit code is then 1."""
    failures.append(line)
    print(printable(line))
