"""The bytes of picture files, with colour profile and metadata.

Nothing here imports torch, because the server's process that decodes pictures imports it.
"""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from glow_app.data.decoding import is_profile_for
from glow_app.messages import in_words

XMP_TEXT = "XML:com.adobe.xmp"  # key of XMP in a PNG, whose text must be of the type iTXt
# Of JPEG and WebP. At 95, or with the subsampling of most cameras, JPEG loses more than restoring gains.
LOSSY = {"quality": 98, "subsampling": "4:4:4"}


def with_profile(picture: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Attach a colour profile to a grey or RGB picture, if it suits its number of channels, and return the picture."""
    if icc_profile is not None and is_profile_for(icc_profile, len(picture.getbands())):
        picture.info["icc_profile"] = icc_profile
    return picture


def png_bytes(picture: Image.Image, text: Mapping[str, Any] | None = None, **options: Any) -> bytes:
    """Return the content of a PNG with metadata in its text chunks; ``options`` are Pillow's."""
    info = PngInfo()
    for key, value in (text or {}).items():
        # File names may not be UTF-8.
        line = in_words(value).encode("utf-8", "backslashreplace").decode()
        info.add_itxt(key, line) if key == XMP_TEXT else info.add_text(key, line)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info, **options)
    return buffer.getvalue()


def picture_bytes(picture: Image.Image, kind: str, text: Mapping[str, Any] | None = None, **options: Any) -> bytes:
    """Return the content of a file of a format of Pillow, with the picture's profile; only PNG has the metadata."""
    options = {**LOSSY, "icc_profile": picture.info.get("icc_profile")} | options
    if kind == "png":
        return png_bytes(picture, text, **options)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
