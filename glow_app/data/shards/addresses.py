"""Uniform reading of local paths and of addresses such as https://, s3:// and hf://."""

import errno
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote

import fsspec

from glow_app.data.sharded_images import ShardError
from glow_app.files import sha256_of

P = ParamSpec("P")
T = TypeVar("T")

# Seconds between attempts after network errors.
_WAITS = (1, 4, 15)

# Seconds without data after which a connection fails.
_TIMEOUT = 60

# Errors that do not go away on retrying: missing or invalid files, missing packages, and disks that cannot be written.
_PERMANENT = (FileNotFoundError, ValueError, ImportError)
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}


# A subset of fsspec's protocols: others render templates, open archives inside archives, or log in over ssh.
_PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "file", "memory")


def is_address(place: str) -> bool:
    """Return whether a place is an address instead of a local path."""
    return "://" in place


def join(root: str, name: str) -> str:
    """Return the path or address of a file in a folder."""
    if not is_address(root):
        return str(Path(root) / name)
    return f"{root.rstrip('/')}/{quote(name) if root.startswith('http') else name}"


def patiently(call: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to retry after network errors; missing or invalid files are not retried."""

    @wraps(call)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for wait in _WAITS:
            try:
                return call(*args, **kwargs)
            except _PERMANENT:
                raise
            except Exception as error:  # the file systems of fsspec share no narrower type
                if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                    raise
                time.sleep(wait)
        return call(*args, **kwargs)

    return again


@patiently
def fetch(place: str, path: Path) -> None:
    """Copy a file from a path or address to the local disk."""
    system, inner = _system(place)
    system.get_file(inner, str(path))


def fetch_verified(place: str, path: Path, sha256: str) -> None:
    """Fetch a file and verify its digest; raise ShardError after two attempts."""
    for _ in range(2):
        fetch(place, path)
        if sha256_of(path) == sha256:
            return
    raise ShardError(f"{place} is damaged: its SHA-256 is not that of the manifest; put a good copy there")


@patiently
def read_text(place: str) -> str:
    """Return the content of a UTF-8 text file at a path or address."""
    system, inner = _system(place)
    if not is_address(place) and not Path(place).is_file():  # for example a device, which never ends
        raise FileNotFoundError(f"{place} is not a file")
    content: bytes = system.cat_file(inner)
    return content.decode("utf-8")


def open_address(place: str) -> Any:
    """Open a file at a path or address for random access."""
    system, inner = _system(place)
    return system.open(inner, "rb")


def fault_of(path: Path, num_bytes: int | None = None, sha256: str | None = None) -> str | None:
    """Return how a local file differs from its size and digest in the manifest; None if it matches."""
    if not path.exists():
        return "is missing"
    if num_bytes is not None and (size := path.stat().st_size) != num_bytes:
        return f"has {size} bytes and not {num_bytes}"
    if sha256 is not None and sha256_of(path) != sha256:
        return "has another SHA-256 than it was written with"
    return None


def _system(place: str) -> tuple[Any, str]:
    if not is_address(place):
        return fsspec.filesystem("file"), place
    if place.partition("://")[0] not in _PROTOCOLS:
        raise ValueError(f"{place} is not a supported address; expected one of {', '.join(_PROTOCOLS[:-2])}")
    options: dict[str, Any] = {}
    if place.startswith("http"):
        from aiohttp import ClientTimeout

        # By default, downloads of over five minutes fail, and a server that sends nothing is awaited forever.
        timeout = ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=_TIMEOUT)
        options = {"client_kwargs": {"timeout": timeout}}
    return fsspec.url_to_fs(place, **options)
