"""What a client would rather have, by its header Accept."""

import re
from collections.abc import Sequence

__all__ = ["preferred"]

JSON = "application/json"


def preferred(accept: str, kinds: Sequence[str]) -> str | None:
    """Return the media type that a header asks for before JSON; None for JSON, which comes where both are as welcome.

    Args:
        accept: The header.
        kinds: What there is beside JSON; the first of those that are equally welcome.
    References:
        RFC 9110, section 12.5.1.
    """
    best = max(kinds, key=lambda kind: _welcome(accept, kind))
    return best if _welcome(accept, best) > _welcome(accept, JSON) else None


def _welcome(accept: str, kind: str) -> tuple[float, int]:
    """Return the weight of a media type, and how closely the range that gives it names the type."""
    closeness = {kind: 2, f"{kind.partition('/')[0]}/*": 1, "*/*": 0}
    found = (-1, 0.0)
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        weights = [match[1] for text in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", text))]
        if name in closeness:
            found = max(found, (closeness[name], float(weights[0]) if weights else 1.0))
    close, weight = found
    return (weight, close) if weight else (0.0, 0)
