"""What a client would rather have, by its header Accept."""

import re

__all__ = ["wants_png"]


def wants_png(accept: str) -> bool:
    """Return whether a header asks for a PNG before JSON, which is what comes where both are as welcome.

    References:
        RFC 9110, section 12.5.1.
    """
    return _welcome(accept, "image/png") > _welcome(accept, "application/json")


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
