"""Pictures of answers: within the JSON, or instead of it if the Accept header asks for them."""

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
from glow_app.server.use import CLIENT

JSON, PNG, ANIMATIONS = "application/json", "image/png", {"image/gif": ".gif", "image/webp": ".webp"}

_ANIMATOR = ThreadPoolExecutor(1, thread_name_prefix="animator")
_ASCII = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_QUICK_VALUES = 2**14  # pixel values that are encoded as PNG in a fraction of a millisecond


def encode_png(image: Tensor, text: Mapping[str, Any] | None = None, icc_profile: bytes | None = None) -> str:
    """Return a uint8 image (C, H, W) as the base64 of a PNG."""
    return base64.b64encode(png_bytes(with_profile(to_pil(image), icc_profile), text)).decode()


async def encode_pngs(
    images: Sequence[Tensor] | Tensor,
    texts: Sequence[Mapping[str, Any]] | None = None,
    icc_profile: bytes | None = None,
) -> list[str]:
    """Return PNGs in base64, without blocking the event loop."""

    def encode() -> list[str]:
        each = [{}] * len(images) if texts is None else texts
        return [encode_png(image, text, icc_profile) for image, text in zip(images, each, strict=True)]

    # Less work than starting a thread; a profile is compressed in each picture.
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
    """Return an answer with ``count`` images as JSON, as a picture or as an animation, whichever Accept prefers.

    Only that one is made, as encoding takes time.
    """
    state = request.app.state
    state.metrics.images.labels(request.url.path).inc(count)
    kinds = [PNG] if frames is None else [PNG, *ANIMATIONS]
    kind = _preferred(",".join(request.headers.getlist("accept")), kinds)
    if kind is None:
        return Response((await answer()).model_dump_json(), media_type=JSON)
    if kind == PNG or frames is None:
        content = await run_in_threadpool(lambda: png_bytes(picture(), text))
    else:
        encode = partial(animation_bytes, frames, ANIMATIONS[kind])
        async with state.animations.take(CLIENT.get(), len(frames)):
            content = await asyncio.get_running_loop().run_in_executor(_ANIMATOR, encode)
    # Headers hold ASCII: other characters are percent-encoded, as in an address.
    headers = {f"X-Glow-{name.replace('_', '-').title()}": quote(str(value), _ASCII) for name, value in text.items()}
    return Response(content, media_type=kind, headers=headers)


def _preferred(accept: str, kinds: Sequence[str]) -> str | None:
    """Return the media type that the Accept header prefers to JSON, or None (RFC 9110, section 12.5.1)."""
    best = max(kinds, key=lambda kind: _welcome(accept, kind))
    return best if _welcome(accept, best) > _welcome(accept, JSON) else None


def _welcome(accept: str, kind: str) -> tuple[float, int]:
    """Return the weight of a media type, and the specificity of the range that matches it."""
    closeness = {kind: 2, f"{kind.partition('/')[0]}/*": 1, "*/*": 0}
    closest = (-1, 0.0)
    for part in accept.lower().split(","):
        name, *parameters = (text.strip() for text in part.split(";"))
        weights = [match[1] for text in parameters if (match := re.fullmatch(r"q=([01](?:\.\d{0,3})?)", text))]
        if name in closeness:
            closest = max(closest, (closeness[name], float(weights[0]) if weights else 1.0))
    close, weight = closest
    return (weight, close) if weight else (0.0, 0)
