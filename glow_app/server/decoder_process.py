"""The process that decodes untrusted pictures, with little memory and no write access."""

import base64
import ctypes
import os
import resource
import signal
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from glow_app.data.decoding import Photo, UnsupportedPictureError, open_image, photo_of
from glow_app.pictures.picture_file import FrameError, PictureFile, picture_file_of
from glow_app.server.limits import LARGEST_SIDE

T = TypeVar("T")

# Formats that browsers show, decoded by mature libraries; untrusted files may not use the other formats of Pillow.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

_MEMORY, _PIXEL_MEMORY = 2**29, 12  # bytes of additional address space, fixed and per pixel
_NICE = 5  # a lower priority than the event loop's
_MALLOC = {-1: 2**20, -3: 2**20}  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc


class RefusedPictureError(Exception):
    """A picture that is not accepted: HTTP status, code and message."""


def decode(file: str | bytes, pixels: int, shape: Sequence[int]) -> Photo:
    """Decode a picture for :meth:`Decoder.read <glow_app.server.decoder.Decoder.read>`.

    Raises:
        RefusedPictureError: If it is not accepted, for example because it declares more pixels.
    """
    return _decoded(file, pixels, "", lambda image, _: photo_of(image, shape))


def decode_file(file: str | bytes, pixels: int, bound: str, most_metadata: int, options: dict[str, Any]) -> PictureFile:
    """Decode a picture for :meth:`Decoder.read_file <glow_app.server.decoder.Decoder.read_file>`."""
    result = _decoded(file, pixels, bound, lambda image, content: picture_file_of(image, content, **options))
    if (size := result.num_metadata_bytes) > most_metadata:
        message = f"its metadata has {size:,} bytes; expected at most {most_metadata:,}: leave it out with strip"
        raise RefusedPictureError(413, "metadata_too_large", message)
    return result


def _decoded(file: str | bytes, pixels: int, bound: str, read: Callable[[Image.Image, bytes], T]) -> T:
    try:
        if isinstance(file, str):
            file = base64.b64decode(file.partition(",")[2] if file.startswith("data:") else file, validate=True)
    except ValueError:
        raise RefusedPictureError(422, "not_base64", "not valid base64") from None
    try:
        image = open_image(file, FORMATS)
    except Exception:  # Pillow's plugins share no narrower base class
        message = f"unknown format or damaged file; expected {', '.join(FORMATS)}"
        raise RefusedPictureError(415, "unknown_format", message) from None
    _check_size(image, pixels, bound)
    try:
        with image:
            result = read(image, file)
    except UnsupportedPictureError as error:
        raise RefusedPictureError(415, "unknown_format", str(error)) from None
    except FrameError as error:
        raise RefusedPictureError(422, "invalid_frame", str(error).replace("--frame", "frame")) from None
    except Exception:
        raise RefusedPictureError(422, "damaged_image", "truncated or damaged") from None
    _check_size(image, pixels, bound)  # a frame may be larger than the file declares
    return result


def _check_size(image: Image.Image, pixels: int, bound: str) -> None:
    if image.width * image.height > pixels or max(image.size) > LARGEST_SIDE:
        message = f"too large; the limit is {pixels:,} pixels and {LARGEST_SIDE:,} per side{bound}"
        raise RefusedPictureError(413, "image_too_large", message)


def restrict(pixels: int) -> None:
    """Lower this process's priority, forbid writing files, and limit memory to what ``pixels`` need."""
    os.nice(_NICE)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends the process at once, even within Pillow
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # each job has its own limit
    warnings.simplefilter("ignore")  # a single picture may cause thousands
    with suppress(AttributeError):  # return freed memory, unlike the server, whose settings of glibc are inherited
        for option, value in _MALLOC.items():
            ctypes.CDLL(None).mallopt(option, value)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    with suppress(OSError):  # Linux only
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * resource.getpagesize() + _MEMORY + _PIXEL_MEMORY * pixels
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
