"""Frames as an animation: GIF, WebP or MP4."""

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

SHORTEST = 0.02  # seconds of a frame; players show shorter ones for longer
TICKS = {"GIF": 100, "WEBP": 1000}  # a second, in which a format tells the time of a frame


def save_animation(
    frames: Tensor, path: Path, seconds: float = 3.0, *, there_and_back: bool = False, min_side: int = 240
) -> float:
    """Write frames as an animation that plays for ever, whole or not at all.

    WebP keeps every pixel; so does GIF of grey frames, while those in colour get 256 colours each; MP4 is lossy.

    Args:
        frames: (N, C, H, W), uint8, at least two.
        path: Where to; its suffix is one of :data:`ANIMATIONS` and says the format. MP4 needs the extra ``video``.
        seconds: That it plays until it begins again.
        there_and_back: Back to the first frame too, on the same way.
        min_side: Pixels are enlarged by a whole factor until a side is at least so long.
    Returns:
        The seconds that it plays: more than asked for where a frame would be shown for less than 0.02 s.
    Raises:
        ValueError: If there are not two frames, or as :func:`require_animation`.
    """
    require_animation(path)
    pictures = _pictures(frames, there_and_back, min_side)
    seconds = max(seconds, SHORTEST * len(pictures))
    with atomic_file(path) as file:
        _WRITERS[path.suffix.lower()](pictures, file, seconds)
    return seconds


def animation_bytes(frames: Tensor, suffix: str, seconds: float = 3.0, *, min_side: int = 240) -> bytes:
    """Return what :func:`save_animation` writes into a file of that suffix, there and back.

    Raises:
        ValueError: If there are not two frames.
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
    """Raise if no animation can be written there, by its suffix.

    Raises:
        ValueError: If it is no animation's, or MP4's without the extra ``video``.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(f"{path} has no suffix of an animation; expected one of {', '.join(ANIMATIONS)}")
    if suffix == ".mp4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise ValueError("MP4 needs the extra video: pip install 'glow-app[video]', or choose .gif") from error


def _times(number: int, seconds: float, ticks: int) -> list[int]:
    """Return the milliseconds of so many frames, whole ticks, which together are the seconds."""
    edges = [round(frame * seconds * ticks / number) for frame in range(number + 1)]
    return [(end - start) * 1000 // ticks for start, end in pairwise(edges)]


def _write_gif(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    # Pillow would look for the best palette of each frame, which takes a hundred times as long.
    quick = Image.Quantize.FASTOCTREE
    reduced = [picture if picture.mode == "L" else picture.quantize(256, method=quick) for picture in pictures]
    times = _times(len(pictures), seconds, TICKS["GIF"])
    reduced[0].save(
        file, "GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0, optimize=False, disposal=1
    )


def _write_webp(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    more, times = pictures[1:], _times(len(pictures), seconds, TICKS["WEBP"])
    pictures[0].save(file, "WEBP", save_all=True, append_images=more, duration=times, loop=0, lossless=True)


def _write_mp4(pictures: list[Image.Image], file: IO[bytes], seconds: float) -> None:
    import av

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000 * len(pictures), round(1000 * seconds)))
        width, height = pictures[0].size
        # The codec wants even sides.
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "16"}
        for picture in pictures:
            even = Image.new("RGB", (stream.width, stream.height))
            even.paste(picture.convert("RGB"))
            container.mux(stream.encode(av.VideoFrame.from_image(even)))
        container.mux(stream.encode())


_WRITERS = {".gif": _write_gif, ".webp": _write_webp, ".mp4": _write_mp4}

# Their suffixes.
ANIMATIONS = tuple(_WRITERS)
