"""Local paths and addresses such as https://, s3:// and hf://, read alike."""

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

# Seconds between the attempts at something that the network may have spoilt.
_WAITS = (1, 4, 15)

# Seconds of silence after which a server counts as gone.
_SILENCE = 60

# What trying again does not change: the place, the file, a package that is missing; and the disk.
_FINAL = (FileNotFoundError, ValueError, ImportError)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS}


# Not all that fsspec knows: others render templates, open archives inside archives, or log in over ssh.
_PROTOCOLS = ("http", "https", "s3", "gs", "gcs", "az", "abfs", "hf", "file", "memory")


def is_address(place: str) -> bool:
    """Return whether a place is not on the local disk."""
    return "://" in place


def join(root: str, name: str) -> str:
    """Return the place of a file in a folder."""
    if not is_address(root):
        return str(Path(root) / name)
    return f"{root.rstrip('/')}/{quote(name) if root.startswith('http') else name}"


def patiently(call: Callable[P, T]) -> Callable[P, T]:
    """Return the function, called again after a while where the network fails; not where a file is missing or wrong."""

    @wraps(call)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        for wait in _WAITS:
            try:
                return call(*args, **kwargs)
            except _FINAL:
                raise
            except Exception as error:  # the file systems of fsspec share no narrower type
                if isinstance(error, OSError) and error.errno in _FULL:
                    raise
                time.sleep(wait)
        return call(*args, **kwargs)

    return again


@patiently
def fetch(place: str, path: Path) -> None:
    """Copy a file from anywhere to the local disk, in one stream."""
    system, inner = _system(place)
    system.get_file(inner, str(path))


def fetch_verified(place: str, path: Path, sha256: str) -> None:
    """Fetch a file and compare its digest; try twice, then raise ShardError."""
    for _ in range(2):
        fetch(place, path)
        if sha256_of(path) == sha256:
            return
    raise ShardError(f"{place} is damaged: its SHA-256 is not that of the manifest; put a good copy there")


@patiently
def read_text(place: str) -> str:
    """Return what a text file anywhere holds."""
    system, inner = _system(place)
    if not is_address(place) and not Path(place).is_file():  # such as a device, which has no end
        raise FileNotFoundError(f"{place} is not a file")
    content: bytes = system.cat_file(inner)
    return content.decode("utf-8")


def open_address(place: str) -> Any:
    """Return a file anywhere, open for reading parts of it."""
    system, inner = _system(place)
    return system.open(inner, "rb")


def fault_of(path: Path, num_bytes: int | None = None, sha256: str | None = None) -> str | None:
    """Return how a local file differs from its size and digest in the manifest; None if it does not."""
    if not path.exists():
        return "is missing"
    if num_bytes is not None and (found := path.stat().st_size) != num_bytes:
        return f"has {found} bytes and not {num_bytes}"
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

        # By default a download of over five minutes always fails, and a silent server is waited for forever.
        timeout = ClientTimeout(total=None, sock_connect=_SILENCE, sock_read=_SILENCE)
        options = {"client_kwargs": {"timeout": timeout}}
    return fsspec.url_to_fs(place, **options)
