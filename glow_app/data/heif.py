"""HEIC pictures, decoded in a process of their own: some keep libheif busy for minutes, which no exception can end.

Run as a program, this file is that process. It reads paths from standard input, each after its length, and answers each
with width, height and RGB bytes, or with 0, the length of a message, and the message.
"""

import os
import signal
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

__all__ = ["INSTALL", "SUFFIXES", "can_read_heif", "read_heif"]

SUFFIXES = frozenset({".heic", ".heif"})
INSTALL = "pip install 'glow-app[heic]'"
SECONDS = 10  # for one picture; a phone's takes less than 2
MEMORY = 4 << 30  # bytes of address space: 179 million pixels, the most that Pillow opens, and their copies

# The process of each process and thread: one that was forked must not share the pipes of its parent.
_processes: dict[tuple[int, int], "subprocess.Popen[bytes]"] = {}


def can_read_heif() -> bool:
    """Return whether the extra ``heic`` is installed."""
    return find_spec("pillow_heif") is not None


def read_heif(path: Path) -> Image.Image:
    """Return a HEIC picture, upright, in RGB.

    Raises:
        ValueError: If it is damaged or too large, takes too long, or the extra ``heic`` is missing.
    """
    if not can_read_heif():
        raise ValueError(f"it is a HEIC picture; run: {INSTALL}")
    key = os.getpid(), threading.get_ident()
    if key not in _processes:
        command = [sys.executable, "-P", __file__, str(SECONDS), str(MEMORY)]
        pipe, silent = subprocess.PIPE, subprocess.DEVNULL
        _processes[key] = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=silent)
    try:
        width, height, content = _asked(_processes[key], os.fsencode(path.absolute()))
    except BaseException as error:  # the process has ended, or its answer would be taken for the next one's
        process = _processes.pop(key)
        process.kill()
        process.communicate()
        if isinstance(error, (EOFError, BrokenPipeError)):
            raise ValueError(f"it is damaged or too large, or takes more than {SECONDS} s to decode") from error
        raise
    if not width:
        raise ValueError(content.decode())
    return Image.frombytes("RGB", (width, height), content)


def _asked(process: "subprocess.Popen[bytes]", name: bytes) -> tuple[int, int, bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(len(name).to_bytes(4) + name)
    process.stdin.flush()
    head = process.stdout.read(8)
    width, height = int.from_bytes(head[:4]), int.from_bytes(head[4:])
    size = 3 * width * height if width else height
    content = process.stdout.read(size)
    if len(head) < 8 or len(content) < size:
        raise EOFError
    return width, height, content


def _decoded(path: str) -> tuple[int, int, bytes]:
    try:
        with Image.open(path, formats=["HEIF"]) as image:
            upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            rgba = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return *upright.size, upright.convert("RGB").tobytes()
    except Exception as error:  # pillow-heif and Pillow share no narrower type
        message = (str(error) or type(error).__name__).encode(errors="replace")
        return 0, len(message), message


def main() -> None:
    """Decode until there is no more; the system ends this process when a picture takes too long."""
    import resource

    import pillow_heif

    seconds, memory = map(int, sys.argv[1:])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes the pipe
    for limit, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (most, most))
    pillow_heif.register_heif_opener()
    while size := int.from_bytes(sys.stdin.buffer.read(4)):
        name = sys.stdin.buffer.read(size)
        signal.alarm(seconds)
        width, height, content = _decoded(os.fsdecode(name))
        signal.alarm(0)
        sys.stdout.buffer.write(width.to_bytes(4) + height.to_bytes(4) + content)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
