import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, UnidentifiedImageError

from glow_app.data import decoding
from glow_app.data.decoding import Photo, decode_image, open_image, photo_of, readable_formats


def decode(path: Path, channels: int = 3, height: int = 4, width: int = 6) -> np.ndarray:
    array = decode_image(path, (channels, height, width), "crop")
    assert array.dtype == np.uint8
    assert array.shape == (channels, height, width)
    return array


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def read_photo(path: Path, shape: Sequence[int] = (3,)) -> Photo:
    with open_image(path) as image:
        return photo_of(image, shape)


def test_rgb_and_grey_bytes_are_kept(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode(save(Image.fromarray(colour), tmp_path / "c.png")), colour.transpose(2, 0, 1))
    grey = colour[..., 0]
    assert np.array_equal(decode(save(Image.fromarray(grey), tmp_path / "g.png"), 1), grey[None])
    assert np.array_equal(decode(tmp_path / "g.png"), np.stack([grey] * 3))
    expected = np.asarray(Image.fromarray(colour).convert("L"))[None]
    assert np.array_equal(decode(tmp_path / "c.png", 1), expected)


def painted(mode: str, colour: Any, others: dict[tuple[int, int], Any], palette: tuple[int, ...] = ()) -> Image.Image:
    """6x4 pixels of one colour, except for some."""
    image = Image.new(mode, (6, 4), colour)
    for place, other in others.items():
        image.putpixel(place, other)
    if palette:
        image.putpalette(palette)
    return image


PALETTE = (0, 0, 0, 10, 200, 30)
WHITE = (255, 255, 255)
# The picture, how it is saved, and the values expected of some of its pixels (x, y).
MODES: dict[str, tuple[Image.Image, dict[str, Any], dict[tuple[int, int], tuple[int, ...]]]] = {
    "palette": (painted("P", 1, {}, PALETTE), {}, {(0, 0): (10, 200, 30)}),
    "palette with transparency": (
        painted("P", 1, {(0, 0): 0}, PALETTE),
        {"transparency": 0},
        {(0, 0): WHITE, (1, 1): (10, 200, 30)},
    ),
    "alpha": (
        painted("RGBA", (100, 0, 0, 0), {(1, 0): (100, 0, 0, 255), (2, 0): (0, 0, 0, 128)}),
        {},
        {(0, 0): WHITE, (1, 0): (100, 0, 0), (2, 0): (127, 127, 127)},
    ),
    "grey with alpha": (painted("LA", (50, 0), {(1, 0): (50, 255)}), {}, {(0, 0): (255,), (1, 0): (50,)}),
    "colour key": (painted("RGB", (1, 2, 3), {}), {"transparency": (1, 2, 3)}, {(0, 0): WHITE, (5, 3): WHITE}),
    "one bit": (painted("1", 1, {(0, 0): 0}), {}, {(0, 0): (0,), (1, 0): (255,)}),
    "CMYK": (painted("CMYK", (0, 255, 255, 0), {}), {"format": "TIFF"}, {(0, 0): (255, 0, 0)}),
    "PNG in the name of a JPEG": (painted("RGB", "red", {}), {"format": "PNG"}, {(0, 0): (255, 0, 0)}),
    "first frame of an animation": (
        painted("RGB", "red", {}),
        {"format": "GIF", "save_all": True, "append_images": [painted("RGB", "blue", {})]},
        {(0, 0): (255, 0, 0)},
    ),
}


@pytest.mark.parametrize("name", MODES)
def test_modes_become_opaque_grey_or_rgb(tmp_path: Path, name: str) -> None:
    image, options, expected = MODES[name]
    path = save(image, tmp_path / "a.jpg", **{"format": "PNG", **options})  # what it holds counts, not its suffix
    array = decode(path, len(next(iter(expected.values()))))
    for (x, y), value in expected.items():
        assert tuple(array[:, y, x].tolist()) == value


def deep_png(values: np.ndarray, colour_type: int) -> bytes:
    """Return a PNG of values of 16 bits, (H, W, C), which Pillow can write only in grey."""
    height, width, _ = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_grey_and_colours_of_16_bits_are_treated_alike(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535, 65535, 1000]] * 4, dtype=np.uint16)
    expected = [0, 1, 128, 255, 255, 3]
    for number, (channels, kind) in enumerate({1: 0, 3: 2, 2: 4, 4: 6}.items()):
        pixels = np.repeat(values[:, :, None], channels, 2)
        pixels[:, :, channels - 1] = 65535 if channels in (2, 4) else pixels[:, :, channels - 1]
        path = tmp_path / f"{number}.png"
        path.write_bytes(deep_png(pixels, kind))
        for shape in ((1, 4, 6), (3, 4, 6), (1,), (3,)):
            photo = read_photo(path, shape)
            assert photo.pixels[0, 0].tolist() == expected
            assert photo.note == "reduced to 8 bits per value"
    assert decode(save(Image.fromarray(values), tmp_path / "i.png"), 1)[0, 0].tolist() == expected
    assert decode(save(Image.fromarray(values), tmp_path / "i.tif"), 1)[0, 0].tolist() == expected
    assert decode(tmp_path / "i.png", 3)[:, 0, 2].tolist() == [128] * 3
    assert decode(save(Image.fromarray(values.astype(np.int32)), tmp_path / "j.tif"), 1)[0, 0].tolist() == expected


def test_formats_that_pillow_decodes_in_python_or_by_a_program_are_not_read(tmp_path: Path) -> None:
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 6", "NAXIS2  = 4", "END")
    fits = tmp_path / "fits.png"
    fits.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(24))
    eps = save(Image.new("RGB", (6, 4)), tmp_path / "eps.png", format="EPS")
    for path, name in ((fits, "FITS"), (eps, "EPS")):
        with Image.open(path) as image:
            assert (image.format, image.size) == (name, (6, 4))
        with pytest.raises(UnidentifiedImageError):
            decode(path)
    refused = {".fits", ".qoi", ".eps", ".ps", ".wmf", ".h5", ".pdf", ".dds", ".avif", ".jp2", ".j2k"}
    assert not refused & set(readable_formats())
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"} <= set(readable_formats())


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a\x7a\x2f", "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\x00\x00\x00\x20ftypavif", "AVIF"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    ],
)
def test_known_formats_that_are_not_read_are_named(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / "picture.png").write_bytes(start.ljust(100, b"\0"))
    for source in (tmp_path / "picture.png", start.ljust(100, b"\0")):
        with pytest.raises(UnidentifiedImageError, match=f"{name} is not supported; save it as PNG"):
            open_image(source)


REFUSED: list[tuple[str, Image.Image, dict[str, Any]]] = [
    ("a side has 262,145 pixels; expected at most 262,144", Image.new("1", (1, 262_145)), {"format": "PNG"}),
    ("float pixels have no defined range", Image.fromarray(np.full((4, 6), 0.5, np.float32)), {}),
    ("integer pixels beyond .* have no defined range", Image.fromarray(np.full((4, 6), 70000, np.int32)), {}),
]


@pytest.mark.parametrize(("message", "image", "options"), REFUSED)
def test_a_picture_that_is_too_long_or_of_no_range_is_refused(
    tmp_path: Path, message: str, image: Image.Image, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=message):
        decode(save(image, tmp_path / "a.tif", **options))


@pytest.mark.parametrize("compression", ["tiff_adobe_deflate", "tiff_lzw", "packbits", "jpeg"])
def test_a_compressed_tiff_is_read(compression: str, tmp_path: Path) -> None:
    path = save(striped(60, 40), tmp_path / "a.tif", compression=compression)
    assert np.abs(read_photo(path).pixels.astype(int) - np.asarray(striped(60, 40)).transpose(2, 0, 1)).max() <= 4


def test_photographs_of_more_than_8_bits_are_reduced_with_a_note(tmp_path: Path) -> None:
    heads = {"P6 2 1 65535\n": 6 * b"\x80\0", "P3 2 1 1000\n" + 6 * "502 ": b"", "P5 2 1 65535\n": 2 * b"\x80\0"}
    for head, content in heads.items():
        (tmp_path / "deep.ppm").write_bytes(head.encode() + content)
        photo = read_photo(tmp_path / "deep.ppm")
        assert photo.note == "reduced to 8 bits per value"
        assert (photo.pixels == 128).all()
    for values, message in ((np.full((4, 6), 1 << 20, np.int32), "32-bit"), (np.zeros((4, 6), np.float32), "32-bit")):
        with pytest.raises(ValueError, match=message):
            read_photo(save(Image.fromarray(values), tmp_path / "deep.tif"))
    for head, size in {"P6 2 1 255\n": 6, "P3 2 1 255\n0 0 0 9 9 9\n": 0, "P1 2 1\n1 0\n": 0}.items():
        (tmp_path / "plain.ppm").write_bytes(head.encode() + bytes(size))
        assert read_photo(tmp_path / "plain.ppm").note is None


def cmyk_profile() -> bytes:
    """Return a colour profile by which cyan ink is pink, and the others are invisible."""
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *[1 << 16, 0, 0, 0] * 2, 1 << 16)
    ramp = bytes(range(256))
    table += 4 * ramp + 8 * bytes([255, 128, 128]) + 8 * bytes([150, 200, 128]) + 3 * ramp  # Lab of each corner
    head = struct.pack(">I4xI4s4s4s12x4s", 128 + 16 + len(table), 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    head += bytes(28) + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)  # the white of print viewing
    return head.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table


def test_cmyk_is_converted_by_its_profile(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (6, 4), (255, 0, 0, 0))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()  # which does not apply
    naive = read_photo(save(cyan, tmp_path / "naive.jpg", quality=100, icc_profile=srgb))
    converted = read_photo(save(cyan, tmp_path / "profile.jpg", quality=100, icc_profile=cmyk_profile()))
    assert [(photo.note, photo.icc_profile) for photo in (naive, converted)] == 2 * [("CMYK made RGB", None)]
    red, green, blue = naive.pixels[:, 0, 0].tolist()
    assert red < 5 < 250 < min(green, blue)
    red, green, blue = converted.pixels[:, 0, 0].tolist()
    assert min(red, blue) > green + 50, "pink"


def test_exif_rotation(tmp_path: Path) -> None:
    lying = np.zeros((6, 4), dtype=np.uint8)
    lying[:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left column becomes the top row
    array = decode(save(Image.fromarray(lying), tmp_path / "e.png", exif=exif), 1)
    assert (array[0, 0] == 255).all()
    assert not array[0, 1:].any()


def test_large_jpeg_is_resized_to_the_target(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 640, dtype=np.uint8)[None].repeat(480, axis=0)
    array = decode_image(save(Image.fromarray(ramp), tmp_path / "r.jpg"), (1, 6, 8), "stretch")
    assert (np.abs(array[0, 2].astype(int) - np.linspace(16, 239, 8)) < 6).all()


def striped(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), (90, 90, 90))
    image.paste((200, 30, 30), (0, 0, width, height // 2))
    return image


NOTES = {
    "a grey picture for a colour model": (Image.new("L", (8, 6)), {}, 3, None),
    "a grey picture saved as RGB": (Image.new("RGB", (8, 6), (70, 70, 72)), {}, 1, None),
    "colours": (striped(8, 6), {}, 1, "colours made grey"),
    "a panorama in colour": (striped(120, 30), {}, 1, "cropped and reduced to 8x6 (width x height), colours made grey"),
    "of the same proportions": (Image.new("L", (16, 12)), {}, 1, "reduced to 8x6 (width x height)"),
    "a small picture": (Image.new("L", (4, 4)), {}, 1, "cropped and enlarged to 8x6 (width x height)"),
    "upright by its tag": (
        striped(120, 30),
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        3,
        "cropped and reduced to 8x6 (width x height)",
    ),
}


@pytest.mark.parametrize("name", NOTES)
def test_changes_are_noted(tmp_path: Path, name: str) -> None:
    image, options, channels, expected = NOTES[name]
    path = save(image, tmp_path / "a.jpg", **options)
    for source in (path, path.read_bytes()):
        with open_image(source) as opened:
            photo = photo_of(opened, (channels, 6, 8))
        assert (photo.note, photo.icc_profile) == (expected, None)
        assert np.array_equal(photo.pixels, decode_image(path, (channels, 6, 8), "crop"))
        assert np.array_equal(photo.pixels, decode_image(path.read_bytes(), (channels, 6, 8), "crop"))


def test_heic_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    ramp = np.linspace(0, 255, 48).repeat(64).reshape(48, 64).astype(np.uint8)
    picture = Image.fromarray(np.stack([ramp, 255 - ramp, ramp // 2], axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    picture.save(tmp_path / "a.jpg", exif=exif.tobytes(), quality=95)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.info["icc_profile"] = profile
    pillow_heif.from_pillow(picture).save(tmp_path / "a.heic", exif=exif.tobytes(), quality=95)
    assert read_photo(tmp_path / "a.heic").icc_profile == profile
    expected = decode_image(tmp_path / "a.jpg", (3, 64, 48), "crop").astype(int)
    assert abs(decode_image(tmp_path / "a.heic", (3, 64, 48), "crop") - expected).max() < 24
    for content in ((tmp_path / "a.heic").read_bytes(), (tmp_path / "a.heic").rename(tmp_path / "a.png")):
        with pytest.raises(UnidentifiedImageError):  # only a file of that suffix, never what the server receives
            decode_image(content, (3, 64, 48), "crop")
    monkeypatch.setattr(decoding, "can_read_heic", lambda: False)
    with pytest.raises(ValueError, match=r"it is a HEIC picture; run: pip install 'glow-app\[heic\]'"):
        decode_image(tmp_path / "a.heic", (3, 64, 48), "crop")
