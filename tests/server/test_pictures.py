"""Pictures that are not what they seem."""

import io
import struct
import zlib
from typing import Any

import pytest
from app_client import as_base64
from PIL import Image

from glow_app.server.decoder_process import decode

JOB = {"shape": (1, 8, 8), "pixels": 1_000_000, "side": 2_000, "bound": ""}


@pytest.fixture(autouse=True)
def no_bound_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the process does


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


def scans(image: Image.Image, number: int) -> bytes:
    """Return a progressive JPEG that goes over its pixels so many times more than it needs to."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    first, second = (content.find(b"\xff\xda", start) for start in (0, content.find(b"\xff\xda") + 2))
    return content[:second] + content[first:second] * number + content[second:]


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
    "a JPEG of a thousand scans": (scans(Image.new("L", (64, 64)), 1000), 413, "image_too_large"),
    "SVG": (SVG, 415, "unknown_format"),
    "a TIFF whose header lies": (LYING_TIFF, 415, "unknown_format"),
    "a TIFF": (saved(Image.new("L", (8, 8)), "TIFF"), 415, "unknown_format"),
    "PostScript": (saved(Image.new("L", (8, 8)), "EPS"), 415, "unknown_format"),
    "a zip": (b"PK\x03\x04" + bytes(100), 415, "unknown_format"),
    "nothing": (b"", 415, "unknown_format"),
}


OWN_SIZE = {**JOB, "shape": (1,)}


@pytest.mark.parametrize("job", [JOB, OWN_SIZE], ids=["the model's size", "its own size"])
@pytest.mark.parametrize("name", BAD)
def test_bad_pictures_are_refused(name: str, job: dict[str, Any]) -> None:
    content, status, code = BAD[name]
    answer, pixels = decode(as_base64(content).encode(), job)
    assert (answer["status"], answer["code"], pixels) == (status, code, b"")


def test_a_picture_that_inflates_as_text_is_refused() -> None:
    assert decode(as_base64(text_bomb()).encode(), JOB)[0]["status"] in (415, 422)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_in_its_own_size_is_upright(channels: int) -> None:
    picture = Image.new("RGB", (5, 3), (200, 0, 0))
    picture.putpixel((0, 0), (0, 0, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    answer, pixels = decode(as_base64(buffer.getvalue()).encode(), {**JOB, "shape": (channels,)})
    note = "colours made grey" if channels == 1 else None
    assert answer == {"status": 200, "note": note, "shape": (channels, 5, 3), "profile": 0}
    turned = picture.transpose(Image.Transpose.ROTATE_270).convert("L" if channels == 1 else "RGB")
    assert pixels == b"".join(band.tobytes() for band in turned.split())


def test_more_than_8_bits_per_value_would_be_lost() -> None:
    text = as_base64(saved(Image.new("I;16", (8, 8)), "PNG")).encode()
    assert decode(text, JOB)[0]["status"] == 200
    answer, _ = decode(text, OWN_SIZE)
    message = "it has more than 8 bits per value; expected 8: save it with 8 bits"
    assert answer == {"status": 422, "code": "deep_image", "message": message}


def test_an_intact_picture_that_is_not_read_is_not_called_damaged() -> None:
    content = bytearray(saved(Image.new("P", (8, 8)), "BMP"))
    content[30] = 1  # the compression: by the length of runs
    answer, _ = decode(as_base64(bytes(content)).encode(), JOB)
    message = "it is a run-length encoded BMP, which is not supported; save it without compression, or as PNG"
    assert answer == {"status": 415, "code": "unknown_format", "message": message}


@pytest.mark.parametrize("text", ["no base64!", "AAA", "AAAA\n", "é", "data:image/png;base64,AAAA"])
def test_other_text_is_no_base64(text: str) -> None:
    answer, _ = decode(text.encode(), JOB)
    assert (answer["status"], answer["code"]) == (422, "not_base64")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_usual_formats_are_read(kind: str) -> None:
    text = as_base64(saved(Image.new("RGB", (8, 8), (200, 200, 200)), kind)).encode()
    answer, pixels = decode(text, {**JOB, "shape": (3, 8, 8)})
    assert answer == {"status": 200, "note": None, "shape": (3, 8, 8), "profile": 0}
    assert len(pixels) == 3 * 8 * 8
    assert all(abs(value - 200) < 4 for value in pixels)
