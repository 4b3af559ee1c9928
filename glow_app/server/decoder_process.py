"""The process that decodes pictures of strangers: it may be killed at any moment, and can neither write nor grow.

Run as ``python -m glow_app.server.decoder_process PIXELS``. On standard input, a line of JSON and a picture for each
job; on standard output, a line of JSON and, where the picture could be read, its pixels and its colour profile.
"""

import base64
import io
import json
import os
import resource
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from glow_app.data.decoding import DeepPictureError, UnsupportedPictureError, decode_noted, read_photo
from glow_app.server.limits import LARGEST_PROFILE

# What browsers show, all decoded by well-tried libraries; the others that Pillow knows stay closed to strangers.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_MEMORY, _PIXEL_MEMORY = 2**29, 12  # bytes of address space beyond those at the start, and for each pixel
_SCANS = 100  # of a JPEG; a progressive one has about ten, and each costs a pass over all pixels
_GROWTH = 2**26  # bytes of memory that a process may keep from one picture to the next
_NICE = 5  # others, such as the event loop, go first


def decode(text: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return what to answer, and the pixels, (C, H, W), uint8, and its colour profile; nothing if it is refused.

    The job has the ``shape`` wanted, (C, H, W), or (C,) for a picture in its own size, with its profile; the largest
    ``pixels`` and ``side`` of a file, which comes in base64; and ``bound``, the end of the message for larger ones.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return _refused(422, "not_base64", "no base64; expected the bytes of a file in base64")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            scans = content.count(b"\xff\xda") if content.startswith(b"\xff\xd8") else 1  # also of a JPEG called MPO
    except Exception:  # Pillow's plugins share no narrower type
        return _refused(415, "unknown_format", f"of no known format, or damaged; expected {', '.join(FORMATS)}")
    if width * height > job["pixels"] or max(width, height) > job["side"]:
        bounds = f"at most {job['pixels']:,} pixels and {job['side']:,} a side are accepted{job['bound']}"
        return _refused(413, "image_too_large", f"too large; {bounds}")
    if scans > _SCANS:
        return _refused(413, "image_too_large", f"a JPEG of {scans} scans; at most {_SCANS} are accepted")
    note: str | None = None
    profile = b""
    try:
        if len(job["shape"]) == 1:
            photo = read_photo(content, job["shape"][0], formats=FORMATS)
            pixels, profile, note = photo.pixels, photo.icc_profile or b"", photo.note
        else:
            pixels, note = decode_noted(content, tuple(job["shape"]), FORMATS)
    except DeepPictureError as error:
        return _refused(422, "deep_image", str(error))
    except UnsupportedPictureError as error:
        return _refused(415, "unknown_format", str(error))
    except Exception:
        return _refused(422, "damaged_image", "truncated or damaged")
    profile = profile if len(profile) <= LARGEST_PROFILE else b""
    answer = {"status": 200, "note": note, "shape": pixels.shape, "profile": len(profile)}
    return answer, pixels.tobytes() + profile


def _refused(status: int, code: str, message: str) -> tuple[dict[str, Any], bytes]:
    return {"status": status, "code": code, "message": message}, b""


def _restrict(pixels: int) -> None:
    """Lower the priority, forbid writing files, and bound the memory by that of a picture of ``pixels`` pixels."""
    os.nice(_NICE)
    for what in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(what, (0, 0))
    with suppress(OSError):  # Linux only
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + _MEMORY + _PIXEL_MEMORY * pixels
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _resident() -> int:
    """Return the resident memory of this process in bytes; 0 if unknown."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _allow(seconds: int) -> None:
    """End this process after ``seconds`` more of processor time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard))


def main() -> None:
    """Decode until there is no more, or one picture has left too much memory behind."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # the job says how many
    warnings.simplefilter("ignore")  # Pillow's, of which one picture may have thousands
    _restrict(int(sys.argv[1]))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    begun, is_last = _resident(), False
    while not is_last and (line := source.readline()):
        job = json.loads(line)
        text = source.read(job["size"])
        _allow(job["seconds"])
        answer, pixels = decode(text, job)
        is_last = _resident() > begun + _GROWTH
        sink.write(json.dumps({**answer, "is_last": is_last}).encode() + b"\n" + pixels)
        sink.flush()


if __name__ == "__main__":
    main()
