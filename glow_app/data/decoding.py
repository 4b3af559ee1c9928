"""One image file of any mode to an array of the wanted shape."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from glow_app.data.request import Resize
from glow_app.data.resizing import image_to_array, resize_image

# EPS would start Ghostscript on the file; the others are stubs that recognise a file without being able to read it.
_EXCLUDED = {"EPS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR"}

# What the common formats begin with.
_STARTS = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp"}


@cache
def readable_formats() -> dict[str, str]:
    """Return the file extensions (lower case, with dot) that are read, and the Pillow format of each."""
    extensions = Image.registered_extensions()
    return {ext: name for ext, name in extensions.items() if name in Image.OPEN and name not in _EXCLUDED}


def decode_file(path: Path, image_shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """Read one image file: first frame, upright by its EXIF tag, transparency on white, 8 bits.

    Args:
        path: Image file.
        image_shape: Wanted (C, H, W), C being 1 or 3.
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
    Shape:
        uint8, (C, H, W).
    Raises:
        Exception: Whatever Pillow raises for a file it cannot read; its plugins share no narrower type.
    """
    return _decode(path, _formats(path.suffix.lower()), image_shape, resize)


def decode_bytes(
    content: bytes, image_shape: tuple[int, int, int], resize: Resize, formats: Sequence[str] | None = None
) -> np.ndarray:
    """Read what an image file holds, as :func:`decode_file` does.

    Args:
        content: Of the file.
        image_shape: Wanted (C, H, W), C being 1 or 3.
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
        formats: Pillow's names of those to try; all that are read if omitted.
    """
    suffix = next((suffix for start, suffix in _STARTS.items() if content.startswith(start)), "")
    return _decode(io.BytesIO(content), formats or _formats(suffix), image_shape, resize)


def _decode(
    file: Path | IO[bytes], formats: Sequence[str], image_shape: tuple[int, int, int], resize: Resize
) -> np.ndarray:
    channels, height, width = image_shape
    with Image.open(file, formats=tuple(formats)) as image:
        # A JPEG can be decoded at a fraction of its size; twice the target leaves the filter enough to work with.
        image.draft(None, (2 * max(height, width),) * 2)
        image.load()
        # In place, and below only where needed: of small images, copies would be a third of the time.
        ImageOps.exif_transpose(image, in_place=True)
        plain, mode = flatten(image), "L" if channels == 1 else "RGB"
        plain = plain if plain.mode == mode else plain.convert(mode)
        return image_to_array(resize_image(plain, height, width, resize))


@cache
def _formats(suffix: str) -> list[str]:
    """Return all formats that are read, the one that the file name promises first: it is nearly always right."""
    formats = readable_formats()
    return sorted(set(formats.values()), key=lambda name: (name != formats.get(suffix), name))


def flatten(image: Image.Image) -> Image.Image:
    """Return an opaque 8-bit image: 16-bit grey scaled down, transparency composited on white.

    Raises:
        ValueError: If pixel values have no defined range (32-bit integers beyond 16 bits, floats).
    """
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no defined range; save the image with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image)
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips at 255 instead of scaling.
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit integer pixels beyond 0..65535 have no defined range; save the image with 16 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
