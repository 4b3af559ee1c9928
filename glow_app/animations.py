"""Frames as an animation: GIF, WebP or MP4."""

from pathlib import Path
from typing import IO

from PIL import Image
from torch import Tensor

from glow_app.files import atomic_file
from glow_app.images import enlarged, to_pil
from glow_app.usage import counted

__all__ = ["ANIMATIONS", "save_animation"]


def save_animation(
    frames: Tensor, path: Path, seconds: float = 3.0, *, there_and_back: bool = False, min_side: int = 240
) -> None:
    """Write frames as an animation that plays for ever, whole or not at all.

    Args:
        frames: (N, C, H, W), uint8, at least two.
        path: Where to; its suffix is one of :data:`ANIMATIONS` and says the format. MP4 needs the extra ``video``.
        seconds: From the first frame to the last.
        there_and_back: Back to the first frame too, on the same way.
        min_side: Pixels are enlarged by a whole factor until a side is at least so long.
    Raises:
        ValueError: If there are not two frames, the format is another, or MP4 is not to be had.
    """
    if len(frames) < 2:
        raise ValueError(f"got {counted(len(frames), 'frame')}; an animation needs at least 2")
    write = _WRITERS.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"{path} has no suffix of an animation; expected one of {', '.join(ANIMATIONS)}")
    factor = max(1, -(-min_side // max(frames.shape[2:])))
    pictures = [to_pil(frame) for frame in enlarged(frames, factor)]
    if there_and_back:
        pictures += pictures[-2:0:-1]
    milliseconds = max(20, round(1000 * seconds / (len(frames) - 1)))
    with atomic_file(path) as file:
        write(pictures, file, milliseconds)


def _write_gif(pictures: list[Image.Image], file: IO[bytes], milliseconds: int) -> None:
    # Pillow would look for the best palette of each frame, which takes a hundred times as long.
    quick = Image.Quantize.FASTOCTREE
    reduced = [picture if picture.mode == "L" else picture.quantize(256, method=quick) for picture in pictures]
    reduced[0].save(
        file, "GIF", save_all=True, append_images=reduced[1:], duration=milliseconds, loop=0, optimize=False, disposal=1
    )


def _write_webp(pictures: list[Image.Image], file: IO[bytes], milliseconds: int) -> None:
    more = pictures[1:]
    pictures[0].save(file, "WEBP", save_all=True, append_images=more, duration=milliseconds, loop=0, lossless=True)


def _write_mp4(pictures: list[Image.Image], file: IO[bytes], milliseconds: int) -> None:
    try:
        import av
    except ImportError as error:
        raise ValueError("MP4 needs the extra video: pip install 'glow-app[video]', or choose .gif or .webp") from error
    from fractions import Fraction

    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000, milliseconds))
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
