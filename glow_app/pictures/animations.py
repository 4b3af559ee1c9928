"""Write animations as GIF, WebP or MP4."""

import io
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import IO

from PIL import Image
from torch import Tensor

from glow_app.files import atomic_file
from glow_app.messages import pluralise
from glow_app.pictures.images import enlarged, to_pil

SHORTEST = 0.02  # seconds per frame; players slow down shorter frames
TICKS = {"GIF": 100, "WEBP": 1000}  # time units per second in which a format stores durations


def save_animation(
    frames: Tensor, path: Path, seconds: float = 3.0, *, there_and_back: bool = False, min_side: int = 240
) -> float:
    """Write frames atomically as an animation that loops forever.

    WebP is lossless, and GIF is for grey frames; in colour, each frame of a GIF gets 256 colours. MP4 is lossy.

    Args:
        frames: (N, C, H, W), uint8; at least two.
        path: File to write; its suffix, one of :data:`ANIMATIONS`, selects the format. MP4 needs the extra ``video``.
        seconds: Duration of a loop.
        there_and_back: Whether to play the frames forwards, then backwards.
        min_side: Frames are enlarged by an integer factor until their longer side has at least this many pixels.
    Returns:
        Actual duration in seconds: longer than ``seconds`` if frames would otherwise be shown for less than 0.02 s.
    Raises:
        ValueError: If there are fewer than two frames, or as :func:`require_animation`.
    """
    require_animation(path)
    pictures = _pictures(frames, there_and_back, min_side)
    seconds = max(seconds, SHORTEST * len(pictures))
    with atomic_file(path) as file:
        _WRITERS[path.suffix.lower()](pictures, file, seconds)
    return seconds


def animation_bytes(frames: Tensor, suffix: str, seconds: float = 3.0, *, min_side: int = 240) -> bytes:
    """Return the content of a file of :func:`save_animation` with ``there_and_back``, in the format of ``suffix``.

    Raises:
        ValueError: If there are fewer than two frames.
    """
    pictures = _pictures(frames, True, min_side)
    file = io.BytesIO()
    _WRITERS[suffix](pictures, file, max(seconds, SHORTEST * len(pictures)))
    return file.getvalue()


def _pictures(frames: Tensor, there_and_back: bool, min_side: int) -> list[Image.Image]:
    if len(frames) < 2:
        raise ValueError(f"got {pluralise(len(frames), 'frame')}; an animation needs at least 2")
    factor = max(1, -(-min_side // max(frames.shape[2:])))
    pictures = [to_pil(frame) for frame in enlarged(frames, factor)]
    return pictures + pictures[-2:0:-1] if there_and_back else pictures


def require_animation(path: Path) -> None:
    """Check the suffix of a path for an animation.

    Raises:
        ValueError: If the suffix is not one of :data:`ANIMATIONS`, or is ``.mp4`` and the extra ``video`` is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(f"{path} does not have the suffix of an animation; expected one of {', '.join(ANIMATIONS)}")
    if suffix == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise ValueError("MP4 needs the extra video: pip install 'glow-app[video]', or choose .gif") from error


def _durations(count: int, seconds: float, ticks: int) -> list[int]:
    """Return the duration of each of ``count`` frames, in milliseconds and whole ticks, with a total of ``seconds``."""
    edges = [round(frame * seconds * ticks / count) for frame in range(count + 1)]
    return [(end - start) * 1000 // ticks for start, end in pairwise(edges)]


def _write_gif(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    # By default, Pillow searches the best palette for each frame, which takes a hundred times as long.
    fast = Image.Quantize.FASTOCTREE
    reduced = [picture if picture.mode == "L" else picture.quantize(256, method=fast) for picture in pictures]
    durations = _durations(len(pictures), seconds, TICKS["GIF"])
    reduced[0].save(
        file, "GIF", save_all=True, append_images=reduced[1:], duration=durations, loop=0, optimize=False, disposal=1
    )


def _write_webp(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    rest, durations = pictures[1:], _durations(len(pictures), seconds, TICKS["WEBP"])
    pictures[0].save(file, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, lossless=True)


def _write_mp4(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    import av

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000 * len(pictures), round(1000 * seconds)))
        width, height = pictures[0].size
        # The codec requires even sides.
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16"}
        for picture in pictures:
            padded = Image.new("RGB", (stream.width, stream.height))
            padded.paste(picture.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_image(padded)))
        container.mux(stream.encode())


_WRITERS = {".gif": _write_gif, ".webp": _write_webp, ".mp4": _write_mp4}

# Supported suffixes.
ANIMATIONS = tuple(_WRITERS)
