import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from glow_app.data.decoding import decode_image, decode_noted, readable_formats


def decode(path: Path, channels: int = 3, height: int = 4, width: int = 6) -> np.ndarray:
    array = decode_image(path, (channels, height, width), "crop")
    assert array.dtype == np.uint8
    assert array.shape == (channels, height, width)
    return array


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_rgb_and_grey_bytes_are_kept(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode(save(Image.fromarray(colour), tmp_path / "c.png")), colour.transpose(2, 0, 1))
    grey = colour[..., 0]
    assert np.array_equal(decode(save(Image.fromarray(grey), tmp_path / "g.png"), 1), grey[None])
    assert np.array_equal(decode(tmp_path / "g.png"), np.stack([grey] * 3))
    expected = np.asarray(Image.fromarray(colour).convert("L"))[None]
    assert np.array_equal(decode(tmp_path / "c.png", 1), expected)


def test_palette(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    assert decode(save(image, tmp_path / "p.png"))[:, 0, 0].tolist() == [10, 200, 30]


def test_palette_with_transparency_is_white_there(tmp_path: Path) -> None:
    image = Image.new("P", (6, 4), 1)
    image.putpixel((0, 0), 0)
    image.putpalette([0, 0, 0, 10, 200, 30])
    array = decode(save(image, tmp_path / "p.png", transparency=0))
    assert array[:, 0, 0].tolist() == [255, 255, 255]
    assert array[:, 1, 1].tolist() == [10, 200, 30]


def test_alpha_is_composited_on_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (6, 4), (100, 0, 0, 0))
    image.putpixel((1, 0), (100, 0, 0, 255))
    image.putpixel((2, 0), (0, 0, 0, 128))
    array = decode(save(image, tmp_path / "a.png"))
    assert array[:, 0, 0].tolist() == [255, 255, 255]
    assert array[:, 0, 1].tolist() == [100, 0, 0]
    assert array[:, 0, 2].tolist() == [127, 127, 127]


def test_grey_with_alpha(tmp_path: Path) -> None:
    image = Image.new("LA", (6, 4), (50, 0))
    image.putpixel((1, 0), (50, 255))
    assert decode(save(image, tmp_path / "la.png"), 1)[0, 0, :2].tolist() == [255, 50]


def test_colour_key_transparency(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), (1, 2, 3))
    assert (decode(save(image, tmp_path / "k.png", transparency=(1, 2, 3))) == 255).all()


def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 32768, 65535, 65535, 1000]] * 4, dtype=np.uint16)
    expected = [0, 1, 128, 255, 255, 4]
    assert decode(save(Image.fromarray(values), tmp_path / "i.png"), 1)[0, 0].tolist() == expected
    assert decode(save(Image.fromarray(values), tmp_path / "i.tif"), 1)[0, 0].tolist() == expected
    assert decode(tmp_path / "i.png", 3)[:, 0, 2].tolist() == [128] * 3
    assert decode(save(Image.fromarray(values.astype(np.int32)), tmp_path / "j.tif"), 1)[0, 0].tolist() == expected


def test_16_bit_grey_takes_no_more_memory_than_pixels(tmp_path: Path) -> None:
    path = save(Image.new("I;16", (2000, 2000)), tmp_path / "large.png")
    tracemalloc.start()
    try:
        decode(path, 1)
        assert tracemalloc.get_traced_memory()[1] < 2000 * 2000 * 4
    finally:
        tracemalloc.stop()


def test_a_picture_of_one_pixel_a_row(tmp_path: Path) -> None:
    path = save(Image.new("1", (1, 262_145)), tmp_path / "thin.png")
    with pytest.raises(ValueError, match="a side has 262,145 pixels; expected at most 262,144"):
        decode(path)


def test_what_pillow_decodes_in_python_is_not_read(tmp_path: Path) -> None:
    cards = ("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 6", "NAXIS2  = 4", "END")
    path = tmp_path / "fits.png"
    path.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(24))
    with Image.open(path) as image:
        assert (image.format, image.size) == ("FITS", (6, 4))
    with pytest.raises(UnidentifiedImageError):
        decode(path)
    assert not {".fits", ".qoi", ".eps", ".dds", ".avif", ".jp2", ".j2k"} & set(readable_formats())
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"} <= set(readable_formats())


@pytest.mark.parametrize("compression", ["raw", "tiff_deflate", "tiff_lzw", "packbits", "jpeg"])
def test_a_tiff_is_read_unless_it_is_compressed(tmp_path: Path, compression: str) -> None:
    path = save(Image.new("RGB", (60, 400), "white"), tmp_path / "plain.tif", compression=compression)
    if compression == "raw":
        assert (decode(path) == 255).all()
    else:
        with pytest.raises(ValueError, match="it is a compressed TIFF, which is not read; save it without compression"):
            decode(path)


def test_a_run_length_encoded_bmp_is_not_read(tmp_path: Path) -> None:
    # Pillow decodes it in Python: 9 kB took 3 s.
    path = save(Image.new("P", (4, 4)), tmp_path / "a.bmp")
    content = bytearray(path.read_bytes())
    content[30] = 1  # the compression
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it is a run-length encoded BMP, which is not read"):
        decode(path)


@pytest.mark.parametrize("array", [np.full((4, 6), 0.5, np.float32), np.full((4, 6), 70000, np.int32)])
def test_pixels_without_a_range_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no defined range"):
        decode(save(Image.fromarray(array), tmp_path / "f.tif"))


def test_one_bit(tmp_path: Path) -> None:
    image = Image.new("1", (6, 4), 1)
    image.putpixel((0, 0), 0)
    assert decode(save(image, tmp_path / "b.png"), 1)[0, 0, :2].tolist() == [0, 255]


def test_cmyk(tmp_path: Path) -> None:
    array = decode(save(Image.new("CMYK", (6, 4), (0, 255, 255, 0)), tmp_path / "c.tif"))
    assert array[:, 0, 0].tolist() == [255, 0, 0]


def test_exif_rotation(tmp_path: Path) -> None:
    lying = np.zeros((6, 4), dtype=np.uint8)
    lying[:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left column becomes the top row
    array = decode(save(Image.fromarray(lying), tmp_path / "e.png", exif=exif), 1)
    assert (array[0, 0] == 255).all()
    assert not array[0, 1:].any()


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    path = save(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode(path)[:, 0, 0].tolist() == [255, 0, 0]


def test_large_jpeg_is_resized_to_the_target(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 640, dtype=np.uint8)[None].repeat(480, axis=0)
    array = decode_image(save(Image.fromarray(ramp), tmp_path / "r.jpg"), (1, 6, 8), "stretch")
    assert (np.abs(array[0, 2].astype(int) - np.linspace(16, 239, 8)) < 6).all()


def test_content_counts_not_the_suffix(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4), "red").save(tmp_path / "x.jpg", format="PNG")
    assert decode(tmp_path / "x.jpg")[:, 0, 0].tolist() == [255, 0, 0]


def test_formats_that_start_programs_or_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    assert {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif"} <= set(readable_formats())
    assert not {".eps", ".ps", ".wmf", ".h5", ".pdf"} & set(readable_formats())
    Image.new("RGB", (6, 4)).save(tmp_path / "x.png", format="EPS")
    with pytest.raises(OSError, match="cannot identify"):
        decode(tmp_path / "x.png")


def striped(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), (90, 90, 90))
    image.paste((200, 30, 30), (0, 0, width, height // 2))
    return image


NOTES = {
    "nothing to say": (Image.new("L", (8, 6)), {}, 1, None),
    "a colour picture for a colour model": (striped(8, 6), {}, 3, None),
    "a grey picture for a colour model": (Image.new("L", (8, 6)), {}, 3, None),
    "a grey picture saved as RGB": (Image.new("RGB", (8, 6), (70, 70, 72)), {}, 1, None),
    "colours": (striped(8, 6), {}, 1, "colours made grey"),
    "colours of a palette": (striped(8, 6).quantize(4), {}, 1, "colours made grey"),
    "a panorama": (striped(120, 30), {}, 3, "120x30 resized and cropped to 8x6 (width x height)"),
    "a panorama in colour": (
        striped(120, 30),
        {},
        1,
        "120x30 resized and cropped to 8x6 (width x height), colours made grey",
    ),
    "upright by its tag": (
        striped(120, 30),
        {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        3,
        "30x120 resized and cropped to 8x6 (width x height)",
    ),
}


@pytest.mark.parametrize("name", NOTES)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_what_was_changed_is_told(tmp_path: Path, name: str, suffix: str) -> None:
    image, options, channels, expected = NOTES[name]
    image = image.convert("RGB") if image.mode == "P" and suffix == "jpg" else image
    path = save(image, tmp_path / f"a.{suffix}", **options)
    for source in (path, path.read_bytes()):
        array, note = decode_noted(source, (channels, 6, 8))
        assert note == expected
        assert np.array_equal(array, decode_image(path, (channels, 6, 8), "crop"))
        assert np.array_equal(array, decode_image(path.read_bytes(), (channels, 6, 8), "crop"))
