"""Pictures that are not what they seem."""

import io
import struct
import zlib

import pytest
from PIL import Image
from running import as_base64

from glow_app.server import Limits
from glow_app.server.errors import ApiError
from glow_app.server.pictures import read_picture

LIMITS = Limits(pixels=1_000_000, side=2_000)


def png(width: int, height: int, data: bytes | None = None, more: bytes = b"") -> bytes:
    """Return a grey PNG that declares a size, with any data."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    if data is None:
        data = bytes((width + 1) * height)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + more + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def text_bomb() -> bytes:
    content = b"Comment\x00\x00" + zlib.compress(bytes(100 * 2**20), 9)
    head = struct.pack(">I", len(content)) + b"zTXt" + content
    return png(8, 8, more=head + struct.pack(">I", zlib.crc32(b"zTXt" + content)))


LYING_TIFF = b"II*\x00\x08\x00\x00\x00" + b"\xff\xff" + b"\xff" * 100
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
JPEG = saved(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG")

BAD = {
    "100 megapixels in 20 kB": (png(10_000, 10_000, bytes(10**7)), 413, "image_too_large"),
    "beyond Pillow's own bound": (png(60_000, 60_000, b""), 413, "image_too_large"),
    "one long line": (png(100_000, 1), 413, "image_too_large"),
    "a JPEG cut off": (JPEG[: len(JPEG) // 2], 422, "damaged_image"),
    "a PNG cut off": (png(64, 64)[:-30], 422, "damaged_image"),
    "a PNG with too little data": (png(64, 64, b"\0" * 100), 422, "damaged_image"),
    "SVG": (SVG, 415, "unknown_format"),
    "a TIFF whose header lies": (LYING_TIFF, 415, "unknown_format"),
    "a TIFF": (saved(Image.new("L", (8, 8)), "TIFF"), 415, "unknown_format"),
    "PostScript": (saved(Image.new("L", (8, 8)), "EPS"), 415, "unknown_format"),
    "a zip": (b"PK\x03\x04" + bytes(100), 415, "unknown_format"),
    "nothing": (b"", 415, "unknown_format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused(name: str) -> None:
    content, status, code = BAD[name]
    with pytest.raises(ApiError) as raised:
        read_picture(as_base64(content), (1, 8, 8), LIMITS)
    assert (raised.value.status, raised.value.code) == (status, code)


def test_a_picture_that_inflates_as_text_is_refused() -> None:
    with pytest.raises(ApiError) as raised:
        read_picture(as_base64(text_bomb()), (1, 8, 8), LIMITS)
    assert raised.value.status in (415, 422)


@pytest.mark.parametrize("text", ["no base64!", "AAA", "AAAA\n", "é", "data:image/png;base64,AAAA"])
def test_other_text_is_no_base64(text: str) -> None:
    with pytest.raises(ApiError) as raised:
        read_picture(text, (1, 8, 8), LIMITS)
    assert (raised.value.status, raised.value.code) == (422, "not_base64")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_usual_formats_are_read(kind: str) -> None:
    image, note = read_picture(as_base64(saved(Image.new("RGB", (8, 8), (200, 200, 200)), kind)), (3, 8, 8), LIMITS)
    assert image.shape == (3, 8, 8)
    assert int((image.short() - 200).abs().max()) < 4
    assert note is None
