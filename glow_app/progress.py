"""Progress bars."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def tracked(items: Iterable[T], total: int, doing: str) -> Iterator[T]:
    """Yield the items; if standard error is a terminal and there is more than one, show a progress bar.

    Args:
        items: The items to work on.
        total: Number of items.
        doing: Description of the work, such as ``"drawing"``.
    """
    if total <= 1 or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    # What the loop prints appears above the bar, unless it is redirected, which must not end up on the terminal.
    above = sys.stdout is not None and sys.stdout.isatty()
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=above) as progress:
        yield from progress.track(items, total, description=doing)
