"""Pictures in answers: within the JSON, or instead of it if the Accept header prefers them."""

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from PIL import Image
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from glow_app.pictures.animations import animation_bytes
from glow_app.pictures.images import png_bytes, to_pil, with_profile

JSON, PNG, ANIMATIONS = "application/json", "image/png", {"image/gif": ".gif", "image/webp": ".webp"}

_ANIMATOR = ThreadPoolExecutor(1, thread_name_prefix="animator")
_ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_QUICK_VALUES = 2**14  # maximum number of values for encoding as PNG in a fraction of a millisecond


def encode_png(image: Tensor, text: Mapping[str, Any] | None = None, icc_profile: bytes | None = None) -> str:
    """Return a uint8 image (C, H, W) as a PNG in base64."""
    return base64.b64encode(png_bytes(with_profile(to_pil(image), icc_profile), text)).decode()


async def encode_pngs(
    images: Sequence[Tensor] | Tensor,
    texts: Sequence[Mapping[str, Any]] | None = None,
    icc_profile: bytes | None = None,
) -> list[str]:
    """Return PNGs in base64, without blocking the event loop."""

    def encode() -> list[str]:
        all_texts = [{}] * len(images) if texts is None else texts
        return [encode_png(image, text, icc_profile) for image, text in zip(images, all_texts, strict=True)]

    # Quicker than starting a thread, unless every picture has a profile to compress.
    is_quick = icc_profile is None and len(images) * images[0].numel() <= _QUICK_VALUES
    return encode() if is_quick else await run_in_threadpool(encode)


async def respond(
    request: Request,
    answer: Callable[[], Awaitable[BaseModel]],
    count: int,
    text: Mapping[str, Any],
    picture: Callable[[], Image.Image],
    frames: Tensor | None = None,
) -> Response:
    """Answer with ``count`` images as JSON, a picture or an animation, whichever the Accept header prefers.

    Only that form is encoded, because encoding takes time.
    """
    request.app.state.metrics.images.labels(request.url.path).inc(count)
    kinds = [PNG] if frames is None else [PNG, *ANIMATIONS]
    kind = _preferred(",".join(request.headers.getlist("accept")), kinds)
    if kind is None:
        return Response((await answer()).model_dump_json(), media_type=JSON)
    if kind == PNG or frames is None:
        content = await run_in_threadpool(lambda: png_bytes(picture(), text))
    else:
        encode = partial(animation_bytes, frames, ANIMATIONS[kind])
        content = await asyncio.get_running_loop().run_in_executor(_ANIMATOR, encode)
    # Headers are ASCII; other characters are percent-encoded, as in URLs.
    headers = {f"X-Glow-{name.replace('_', '-').title()}": quote(str(value), _ASCII) for name, value in text.items()}
    return Response(content, media_type=kind, headers=headers)


def _preferred(accept: str, kinds: Sequence[str]) -> str | None:
    """Return the media type that the Accept header prefers to JSON, or None (RFC 9110, section 12.5.1)."""
    best = max(kinds, key=lambda kind: _preference(accept, kind))
    return best if _preference(accept, best) > _preference(accept, JSON) else None


def _preference(accept: str, kind: str) -> tuple[float, int]:
    """Return the weight of a media type, and the specificity of the range that matches it."""
    specificities = {kind: 2, f"{kind.partition('/')[0]}/*": 1, "*/*": 0}
    most_specific = (-1, 0.0)
    for part in accept.lower().split(","):
        media_range, *parameters = (piece.strip() for piece in part.split(";"))
        weights = [match[1] for item in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", item))]
        if media_range in specificities:
            most_specific = max(most_specific, (specificities[media_range], float(weights[0]) if weights else 1.0))
    specificity, weight = most_specific
    return (weight, specificity) if weight else (0.0, 0)
