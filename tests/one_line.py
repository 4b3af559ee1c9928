"""Error messages for people: one line of text."""

from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["message_of"]


def message_of(read: Callable[[Path], object], error: type[Exception], path: Path) -> str:
    """Return the message of the error raised when a file or folder is read; it must be one line."""
    with pytest.raises(error) as caught:
        read(path)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message
