"""Changes to one value of a file's nested dictionaries, and a simulated full disk."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ABSENT = "nothing"


def change(content: dict[str, Any], place: str, value: object) -> None:
    """Set the value at a path such as ``model/flow/prior``; remove it if the value is ``ABSENT``."""
    *parents, name = place.split("/")
    for parent in parents:
        content = content[parent]
    if value is ABSENT:
        del content[name]
    else:
        content[name] = value


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit the size of files to 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
