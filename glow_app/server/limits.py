"""Limits, API keys and log formats of a server; importable without the packages of the server."""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

LARGEST_SIDE = 10_000  # maximum width and height of a picture in a request
LARGEST_METADATA = 2**21  # bytes of metadata and colour profile in all draws of a restored picture

LogFormat = Literal["text", "json"]


def _bound(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True)
class Limits:
    """Limits of each request and of all combined; each field is an option ``--max-...`` of ``glow serve``.

    Bodies are measured as they arrive, pictures by the size that their files declare, before decoding.
    """

    body_bytes: int = _bound(24 * 2**20, "bytes of one request's body")
    pixels: int = _bound(25_000_000, "pixels of a picture in a request")
    count: int = _bound(64, "images in a request or a response")
    restored_pixels: int = _bound(2_000_000, "pixels of all draws of a restored picture combined")
    estimated_pixels: int = _bound(100_000_000, "pixels of a picture that is restored once, at temperature 0")
    queue: int = _bound(64, "requests waiting, being computed or answered")
    seconds: float = _bound(600.0, "seconds until a request fails with 504")
    decode_seconds: int = _bound(10, "seconds to decode one picture")
    body_seconds: float = _bound(30.0, "seconds to receive a request")

    @property
    def values(self) -> int:
        """Maximum number of commas, colons and brackets in the JSON of a body."""
        return 1024 + 8 * self.count


def checked_key(key: str) -> str:
    """Return a key without surrounding white space.

    Raises:
        ValueError: If it is empty, or contains a space or a non-ASCII character, which clients cannot send.
    """
    key = key.strip()
    if not key:
        raise ValueError("the key is empty")
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("the key contains a space or a non-ASCII character")
    return key
