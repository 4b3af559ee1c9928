"""Animations as GIF or WebP."""

import io
from typing import Any

from PIL import Image
from torch import Tensor

from glow_app.pictures.images import enlarged, to_pil

SHORTEST = 0.02  # seconds per frame; players slow down shorter frames


def animation_bytes(frames: Tensor, suffix: str, seconds: float = 3.0, min_side: int = 240) -> bytes:
    """Return an animation that plays frames forwards, then backwards, and loops forever.

    WebP is lossless, and GIF is for grey frames; in colour, each frame of a GIF gets 256 colours.

    Args:
        frames: (N, C, H, W), uint8; at least two.
        suffix: The format, ``.gif`` or ``.webp``.
        seconds: Duration of a loop; longer if frames would otherwise be shown for less than 0.02 s.
        min_side: Frames are enlarged by an integer factor until their longer side has at least this many pixels.
    """
    pictures = [to_pil(frame) for frame in enlarged(frames, max(1, -(-min_side // max(frames.shape[2:]))))]
    pictures += pictures[-2:0:-1]
    milliseconds = round(1000 * max(SHORTEST, seconds / len(pictures)))
    options: dict[str, Any] = {"lossless": True}
    if suffix == ".gif":
        # By default, Pillow searches the best palette for each frame, which takes a hundred times as long.
        fast = Image.Quantize.FASTOCTREE
        pictures = [picture if picture.mode == "L" else picture.quantize(256, method=fast) for picture in pictures]
        options = {"optimize": False, "disposal": 1}
    file = io.BytesIO()
    first, *rest = pictures
    first.save(file, suffix[1:], save_all=True, append_images=rest, duration=milliseconds, loop=0, **options)
    return file.getvalue()
