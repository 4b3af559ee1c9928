"""Local paths and addresses such as https://, s3:// and hf://, read alike."""

import hashlib
import shutil
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

import fsspec

__all__ = ["fetch", "is_address", "join", "patiently", "read_text", "sha256_of"]

P = ParamSpec("P")
T = TypeVar("T")

# Seconds between the attempts at something that the network may have spoilt.
_WAITS = (1, 4, 15)


def is_address(place: str) -> bool:
    """Return whether a place is not on the local disk."""
    return "://" in place


def join(root: str, name: str) -> str:
    """Return the place of a file in a folder."""
    return f"{root.rstrip('/')}/{name}" if is_address(root) else str(Path(root) / name)


def patiently(call: Callable[P, T]) -> Callable[P, T]:
    """Return the function, called again later where the network fails; not where a file is missing or wrong."""

    @wraps(call)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for wait in _WAITS:
            try:
                return call(*args, **kwargs)
            except (FileNotFoundError, ValueError):
                raise
            except Exception:  # the file systems of fsspec share no narrower type
                time.sleep(wait)
        return call(*args, **kwargs)

    return again


@patiently
def fetch(place: str, path: Path) -> None:
    """Copy a file from anywhere to the local disk."""
    with fsspec.open(place, "rb") as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


@patiently
def read_text(place: str) -> str:
    """Return what a text file anywhere holds."""
    with fsspec.open(place, "rt", encoding="utf-8") as file:
        return file.read()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 digest of a local file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
