"""Damaged files: changes to one value of nested dictionaries, the message of one line, and a simulated full disk."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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


def message_of(read: Callable[[Path], object], error: type[Exception], path: Path) -> str:
    """Return the message of the error raised when a file or folder is read; it must be one line."""
    with pytest.raises(error) as caught:
        read(path)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit the size of files to 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
