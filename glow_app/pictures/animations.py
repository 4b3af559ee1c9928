"""Animations as GIF or WebP."""

import io
from itertools import pairwise
from typing import Any

from PIL import Image
from torch import Tensor

from glow_app.messages import pluralise
from glow_app.pictures.images import enlarged, to_pil

ANIMATIONS = {".gif": 100, ".webp": 1000}  # supported suffixes, and time units per second in which durations are stored
SHORTEST = 0.02  # seconds per frame; players slow down shorter frames


def shortest_loop(num_frames: int) -> float:
    """Return the shortest duration of an animation, seconds."""
    return SHORTEST * (2 * num_frames - 2)


def animation_bytes(frames: Tensor, suffix: str, seconds: float = 3.0, min_side: int = 240) -> bytes:
    """Return an animation that plays frames forwards, then backwards, and loops forever.

    WebP is lossless, and GIF is for grey frames; in colour, each frame of a GIF gets 256 colours.

    Args:
        frames: (N, C, H, W), uint8; at least two.
        suffix: The format, one of :data:`ANIMATIONS`.
        seconds: Duration of a loop; longer if frames would otherwise be shown for less than 0.02 s.
        min_side: Frames are enlarged by an integer factor until their longer side has at least this many pixels.
    Raises:
        ValueError: If there are fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"got {pluralise(len(frames), 'frame')}; an animation needs at least 2")
    pictures = [to_pil(frame) for frame in enlarged(frames, max(1, -(-min_side // max(frames.shape[2:]))))]
    pictures += pictures[-2:0:-1]
    seconds, ticks = max(seconds, shortest_loop(len(frames))), ANIMATIONS[suffix]
    # Whole time units, with a total of ``seconds``.
    edges = [round(frame * seconds * ticks / len(pictures)) for frame in range(len(pictures) + 1)]
    durations = [(end - start) * 1000 // ticks for start, end in pairwise(edges)]
    options: dict[str, Any] = {"lossless": True}
    if suffix == ".gif":
        # By default, Pillow searches the best palette for each frame, which takes a hundred times as long.
        fast = Image.Quantize.FASTOCTREE
        pictures = [picture if picture.mode == "L" else picture.quantize(256, method=fast) for picture in pictures]
        options = {"optimize": False, "disposal": 1}
    file = io.BytesIO()
    first, *rest = pictures
    first.save(file, suffix[1:], save_all=True, append_images=rest, duration=durations, loop=0, **options)
    return file.getvalue()
