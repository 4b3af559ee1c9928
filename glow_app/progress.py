"""Progress bars."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Yield the items; on a terminal, show a progress bar of more than one on standard error.

    Args:
        items: The items to work on.
        total: Number of items.
        doing: Description of the work.
    """
    if total <= 1 or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    # What is printed meanwhile goes above the bar on a terminal; in a file it belongs where it was sent.
    above = sys.stdout is not None and sys.stdout.isatty()
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=above) as progress:
        yield from progress.track(items, total, description=doing)
