"""Limits, keys and log formats of a server: importable without the server's packages."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

LARGEST_BATCH = 64  # images drawn at a time; smaller batches are filled up
LARGEST_PROFILE = 2**16  # bytes of a colour profile that is kept, in each picture of an answer

LogFormat = Literal["text", "json"]


def _bound(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of all together; each is an option ``--max-...`` of ``glow serve``, with this help.

    Bodies are counted as they arrive; pictures are measured by what their files declare, before they are decoded.
    """

    body_bytes: int = _bound(8 * 2**20, "bytes of one request's body")
    pixels: int = _bound(20_000_000, "pixels of a picture in a request")
    side: int = _bound(10_000, "width and height of a picture in a request")
    count: int = _bound(64, "images in a request or a response")
    restored_pixels: int = _bound(2_000_000, "pixels of all draws of a restored picture together")
    draws: int = _bound(64, "dequantisation draws of a score")
    queue: int = _bound(64, "requests that wait or are computed")
    seconds: float = _bound(30.0, "seconds until a request is answered 504")
    decode_seconds: int = _bound(5, "processor seconds of decoding one picture")
    body_seconds: float = _bound(10.0, "seconds until a request is complete")

    @property
    def values(self) -> int:
        """Most values and keys in the JSON of one body."""
        return 1024 + 8 * self.count

    @property
    def all_bodies_bytes(self) -> int:
        """Most bytes of all bodies in memory at one time."""
        return 8 * self.body_bytes


def checked_key(key: str) -> str:
    """Return a key without the white space around it.

    Raises:
        ValueError: If it is empty, or no client could send it: headers carry printable ASCII, and a space ends the key.
    """
    key = key.strip()
    if not key:
        raise ValueError("the key is empty")
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("the key has other characters than letters, digits and signs of ASCII, or a space inside")
    return key
