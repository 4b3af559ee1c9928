"""Progress bars."""

import math
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")
_shown: "list[tuple[Progress, TaskID]]" = []  # the bar on the terminal, or none


def tracked(items: Iterable[T], total: int, doing: str, share: float = 1.0) -> Iterator[T]:
    """Yield the items; if standard error is a terminal and there is more than one, show a bar with the time left.

    Within another loop that is tracked, items are parts of its item, and its bar advances.

    Args:
        doing: Description of the work, such as ``"drawing"``.
        share: Share of an item of the other loop that the items are.
    """
    if _shown:
        for item in items:
            yield item
            _shown[0][0].advance(_shown[0][1], share / total)
        return
    if total <= 1 or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    # What the loop prints appears above the bar, unless it is redirected, which must not end up on the terminal.
    above = sys.stdout is not None and sys.stdout.isatty()
    console = Console(stderr=True)
    # By default, rich forgets steps of more than 30 s ago, and shows no time left if each takes longer.
    with Progress(console=console, transient=True, redirect_stdout=above, speed_estimate_period=math.inf) as progress:
        task = progress.add_task(doing, total=total)
        _shown.append((progress, task))
        try:
            for number, item in enumerate(items):
                yield item
                progress.update(task, completed=number + 1)
        finally:
            _shown.clear()
