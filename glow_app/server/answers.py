"""Answers with pictures: within JSON, or instead of it if the Accept header prefers them."""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.images import png_bytes

JSON, PNG, ANIMATIONS = "application/json", "image/png", {"image/gif": ".gif", "image/webp": ".webp"}

_ANIMATING = threading.Lock()  # one animation is encoded at a time, to leave processors to the model's thread
_ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def respond(
    request: Request,
    answer: BaseModel,
    images: Tensor,
    facts: Mapping[str, Any],
    picture: Callable[[], Image.Image],
    animated: bool = False,
) -> Response:
    """Answer with images as JSON, a picture or an animation, whichever the Accept header prefers; only that is made.

    Args:
        request: The request.
        answer: The JSON.
        images: The images, (B, C, H, W).
        facts: What made them, for text chunks and headers.
        picture: Returns a picture of them all.
        animated: Whether they may be an animation.
    """
    request.app.state.metrics.images.labels(request.url.path).inc(len(images))
    kinds = [PNG, *ANIMATIONS] if animated and len(images) > 1 else [PNG]
    kind = _preferred(",".join(request.headers.getlist("accept")), kinds)
    if kind == JSON:
        return Response(answer.model_dump_json(), media_type=JSON)
    if kind == PNG:
        content = png_bytes(picture(), facts)
    else:
        with _ANIMATING:
            content = animation_bytes(images, ANIMATIONS[kind])
    # Headers are ASCII; other characters are percent-encoded, as in URLs.
    headers = {f"X-Glow-{name.replace('_', '-').title()}": quote(str(value), _ASCII) for name, value in facts.items()}
    return Response(content, media_type=kind, headers=headers)


def _preferred(accept: str, kinds: Sequence[str]) -> str:
    """Return the media type with the largest weight in the Accept header; JSON, then the first, if several have it."""
    weights: dict[str, float] = {}
    for part in accept.lower().replace(" ", "").split(","):
        media_range, *parameters = part.split(";")
        weight = [match[1] for text in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", text))]
        weights[media_range] = float(weight[0]) if weight else 1.0

    def preference(kind: str) -> tuple[float, int]:
        ranges = [kind, f"{kind.partition('/')[0]}/*", "*/*"]  # the most specific range counts
        specificity = next((number for number, name in enumerate(ranges) if name in weights), None)
        return (0.0, 0) if specificity is None else (weights[ranges[specificity]], -specificity)

    return max([JSON, *kinds], key=preference)
