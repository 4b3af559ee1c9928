"""Decode HEIC images, each in a process of its own: some keep libheif busy for minutes, which no exception can stop.

Run as a program, this file is that process. It writes the width and height of an image, the length of its colour
profile, the profile and the RGB bytes to standard output; on error, it writes a message and exits with a special code.
"""

import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset({".heic", ".heif"})
INSTALL = "pip install 'glow-app[heic]'"
SECONDS = 10  # per image; photos of phones take less than 2
MEMORY = 4 << 30  # bytes of address space, for Pillow's limit of 179 million pixels and copies of them
_REFUSED = 3  # differs from Python's own exit codes


def can_read_heif() -> bool:
    """Return whether the extra ``heic`` is installed."""
    return find_spec("pillow_heif") is not None


def read_heif(path: Path) -> Image.Image:
    """Return a HEIC image, upright, in RGB, with its colour profile.

    Raises:
        ValueError: If the image is damaged or too large, takes too long, or the extra ``heic`` is missing.
    """
    if not can_read_heif():
        raise ValueError(f"it is a HEIC picture; run: {INSTALL}")
    command = [sys.executable, "-P", __file__, str(SECONDS), str(MEMORY), str(path.absolute())]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run(command, stdin=null, stdout=pipe, stderr=null, check=False)
    if done.returncode == _REFUSED:
        raise ValueError(done.stdout.decode(errors="replace"))
    if done.returncode:
        raise ValueError(f"it is damaged or too large, or takes more than {SECONDS} s to decode")
    width, height, length = (int.from_bytes(done.stdout[start : start + 4]) for start in (0, 4, 8))
    image = Image.frombytes("RGB", (width, height), done.stdout[12 + length :])
    if length:
        image.info["icc_profile"] = done.stdout[12 : 12 + length]
    return image


def _decoded(path: str) -> Image.Image:
    with Image.open(path, formats=["HEIF"]) as image:
        upright = ImageOps.exif_transpose(image)
    info = upright.info
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    upright = upright.convert("RGB")
    upright.info = info
    return upright


def main() -> None:
    """Decode the image of the command line; the operating system kills this process if it takes too long."""
    import resource

    import pillow_heif

    seconds, memory = map(int, sys.argv[1:3])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for limit, maximum in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (maximum, maximum))
    pillow_heif.register_heif_opener()
    signal.alarm(seconds)
    try:
        image = _decoded(sys.argv[3])
    except Exception as error:  # pillow-heif and Pillow share no narrower type
        damaged = isinstance(error, UnidentifiedImageError)  # Pillow's message would repeat the path
        message = "it is damaged" if damaged else str(error) or type(error).__name__
        sys.stdout.buffer.write(message.encode(errors="replace"))
        sys.exit(_REFUSED)
    profile = image.info.get("icc_profile") or b""
    for part in (*(number.to_bytes(4) for number in (*image.size, len(profile))), profile, image.tobytes()):
        sys.stdout.buffer.write(part)


if __name__ == "__main__":
    main()
