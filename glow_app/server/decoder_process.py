"""The process that decodes untrusted pictures: it can be killed at any time, and has no write access and little memory.

Run as ``python -m glow_app.server.decoder_process PIXELS``. Each job on standard input is a line of JSON and a picture;
each answer on standard output is a line of JSON, followed on success by the pixels and the colour profile.
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

# Formats that browsers show, decoded by mature libraries; untrusted files may not use the other formats of Pillow.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_MEMORY, _PIXEL_MEMORY = 2**29, 12  # bytes of additional address space, fixed and per pixel
_SCANS = 100  # maximum of a JPEG; progressive files have about ten, and each costs a pass over all pixels
_GROWTH = 2**26  # bytes of resident memory that may remain after a picture
_NICE = 5  # lower priority than the event loop


def decode(text: bytes, job: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Decode a picture in base64; return the answer, and the bytes of its pixels, (C, H, W), and profile if accepted.

    The job has the ``shape`` to return, (C, H, W), or (C,) to keep size and profile; the maximum ``pixels`` and
    ``side`` of the file; and ``bound``, the end of the message for larger ones.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return _refused(422, "not_base64", "no base64; expected the bytes of a file in base64")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            scans = content.count(b"\xff\xda") if content.startswith(b"\xff\xd8") else 1  # MPO is JPEG too
    except Exception:  # Pillow's plugins share no narrower base class
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
    """Lower the priority, forbid writing files, and limit memory to that for a picture of ``pixels`` pixels."""
    os.nice(_NICE)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
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
    """Limit this process to ``seconds`` more of processor time."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard))


def main() -> None:
    """Decode pictures until the input ends, or one leaves too much memory behind."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # the job has its own limit
    warnings.simplefilter("ignore")  # a single picture may cause thousands
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
