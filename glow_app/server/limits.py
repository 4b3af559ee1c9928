"""What a server takes on, at most, which keys it may ask for, and what it can be told without its packages."""

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Limits", "LogFormat", "checked_key"]

LogFormat = Literal["text", "json"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one request and of all together; each is a flag of ``glow serve``.

    Args:
        body_bytes: Of one request's body, counted as it comes, in whatever pieces.
        pixels: Of one picture as its file declares it, before it is decoded.
        side: Of one picture, in pixels, either way.
        count: Images of one request: to draw, to be given, or frames to be made.
        draws: Dequantisation draws of a score.
        queue: Requests that wait for the model or are worked on.
        seconds: Until a request is answered 504.
        decode_seconds: Of a processor, in which a picture has to be decoded.
        body_seconds: Until a body, or a request's head, has to be there.
    """

    body_bytes: int = 8 * 2**20
    pixels: int = 20_000_000
    side: int = 10_000
    count: int = 64
    draws: int = 64
    queue: int = 64
    seconds: float = 30.0
    decode_seconds: int = 5
    body_seconds: float = 10.0

    @property
    def values(self) -> int:
        """Values and keys in the JSON of one body."""
        return 1024 + 8 * self.count

    @property
    def all_bodies_bytes(self) -> int:
        """Bodies of all requests together, in memory at one time."""
        return 8 * self.body_bytes


def checked_key(key: str) -> str:
    """Return a key without the white space around it.

    Raises:
        ValueError: If it is empty, or no client could send it: a header carries letters, digits and signs of ASCII, and
            a space would end it.
    """
    key = key.strip()
    if not key:
        raise ValueError("the key is empty")
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("the key has other characters than letters, digits and signs of ASCII, or a space inside")
    return key
