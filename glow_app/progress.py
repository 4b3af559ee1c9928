"""How far a long piece of work is, on a terminal."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

__all__ = ["tracked"]

T = TypeVar("T")


def tracked(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Yield the items, and on a terminal show a bar until the last one; it goes to standard error.

    Args:
        items: Whatever is worked on.
        total: How many they are.
        doing: What is done, for people.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, doing, total=total, console=Console(stderr=True), transient=True)
