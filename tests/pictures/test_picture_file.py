"""What results keep of the files of pictures: each property on a file that Pillow wrote, read again."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin
from PIL.ExifTags import GPS, IFD, Base
from PIL.PngImagePlugin import PngInfo
from registry import random_images

from glow_app.pictures.images import to_pil
from glow_app.pictures.inputs import as_photo, read_picture_file
from glow_app.pictures.picture_file import result_suffix

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:creator="Ada"/></x:xmpmeta>'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IPTC = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x50\0\x03Ada"
IFD0 = {Base.Artist: "Ada", Base.Copyright: "(c) Ada", Base.DateTime: "2020:01:02 03:04:05"}
CAMERA = {Base.DateTimeOriginal: "2020:01:02 03:04:05", Base.FNumber: 2.8, Base.MakerNote: b"maker"}
PLACE = {GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48.0, 8.0, 12.5)}


def tags() -> Image.Exif:
    """Return the tags of a photograph that is to be turned by 90 degrees clockwise."""
    exif = Image.Exif()
    for part, values in ((IFD.Exif, CAMERA | {Base.ExifImageWidth: 14, Base.ExifImageHeight: 9}), (IFD.GPSInfo, PLACE)):
        exif[part] = dict(values)
    for tag, value in (IFD0 | {Base.Orientation: 6}).items():
        exif[tag] = value
    loaded = Image.Exif()  # with offsets, as Pillow reads and writes it
    loaded.load(exif.tobytes())
    return loaded


def picture(mode: str = "RGB") -> Image.Image:
    return to_pil(random_images(1, (3, 9, 14))[0] // 2 + 64).convert(mode)


def restored(path: Path, result: Path, **options: Any) -> None:
    """Write the result of doubling the sides of a picture."""
    file = read_picture_file(path, 3, result.suffix, factor=2, **options)
    larger = np.broadcast_to(file.photo.pixels, (3, *file.photo.pixels.shape[1:])).repeat(2, axis=1).repeat(2, axis=2)
    file.save(Image.fromarray(larger.transpose(1, 2, 0)), result, {"seed": 7})


def png_text() -> PngInfo:
    info = PngInfo()
    info.add_text("Author", "Ada")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    return info


SOURCES: dict[str, dict[str, Any]] = {
    ".jpg": {"xmp": XMP, "comment": b"hello", "extra": b"\xff\xed" + struct.pack(">H", 2 + len(IPTC)) + IPTC},
    ".png": {"pnginfo": png_text()},
    ".tiff": {},
    ".webp": {"xmp": XMP},
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("result", SOURCES)
def test_metadata_is_kept_or_stripped(source: str, result: str, tmp_path: Path) -> None:
    path, exif = tmp_path / f"a{source}", tags()
    if source == ".tiff":
        exif[Base.XMLPacket] = XMP
    picture().save(path, exif=exif, icc_profile=SRGB, dpi=(300, 300), **SOURCES[source])
    restored(path, tmp_path / f"b{result}")
    with Image.open(tmp_path / f"b{result}") as made:
        exif, info = made.getexif(), made.info
        assert made.size == (18, 28), "turned"
        assert Base.Orientation not in exif
        assert dict(exif).items() >= IFD0.items()
        assert exif.get_ifd(IFD.Exif) == CAMERA | {Base.ExifImageWidth: 18, Base.ExifImageHeight: 28}
        assert exif.get_ifd(IFD.GPSInfo) == PLACE
        assert info["xmp"] == XMP.replace(b'tiff:Orientation="6"', b"")
        assert info["icc_profile"] == SRGB
        assert ".webp" in (source, result) or np.allclose(info["dpi"], 300, atol=0.1)
        if result == ".png":
            assert info["seed"] == "7"
        if result == source:
            kept = {".jpg": ("comment", b"hello"), ".png": ("Author", "Ada")}.get(source, ("icc_profile", SRGB))
            assert info[kept[0]] == kept[1]
            assert source != ".jpg" or info["photoshop"] == {0x0404: IPTC[-8:]}
    restored(path, tmp_path / f"c{result}", strips=True)
    with Image.open(tmp_path / f"c{result}") as made:
        described = set(made.getexif()) & {*IFD0, Base.Orientation, IFD.Exif, IFD.GPSInfo, Base.XMLPacket}
        assert (made.size, described) == ((18, 28), set())
        assert not {"xmp", "icc_profile", "comment", "photoshop", "Author"} & made.info.keys()


def test_stripped_colours_look_the_same(tmp_path: Path) -> None:
    swapped = bytearray(SRGB)  # red and green are exchanged
    for tag, other in ((b"rXYZ", b"gXYZ"), (b"gXYZ", b"rXYZ")):
        swapped[SRGB.index(tag) : SRGB.index(tag) + 4] = other
    Image.new("RGB", (8, 8), (200, 20, 20)).save(tmp_path / "a.png", icc_profile=bytes(swapped))
    restored(tmp_path / "a.png", tmp_path / "b.png", strips=True)
    with Image.open(tmp_path / "b.png") as made:
        assert np.abs(np.asarray(made).astype(int) - (20, 200, 20)).max() <= 2


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "1"])
def test_grey_stays_grey_and_transparency_is_enlarged(mode: str, tmp_path: Path) -> None:
    source = picture("L" if mode == "I;16" else mode)
    alpha = Image.fromarray(np.linspace(10, 250, 14).astype(np.uint8)[None].repeat(9, axis=0))
    if "A" in mode:
        source.putalpha(alpha)
    source = Image.fromarray(np.asarray(source).astype(np.uint16) * 257) if mode == "I;16" else source
    source.save(tmp_path / "a.png")
    restored(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as made:
        assert made.mode == {"I;16": "L", "1": "L"}.get(mode, mode)
        colours = "RGB" if mode.startswith("RGB") else "L"
        expected = picture("1" if mode == "1" else colours).convert(colours).resize((28, 18), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(made.convert(colours)), np.asarray(expected))
        if "A" in mode:
            larger = alpha.resize((28, 18), Image.Resampling.BICUBIC)
            assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(larger))


def test_transparent_parts_have_the_colours_nearby(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)  # black where transparent
    pixels[:, 20:] = (250, 40, 90, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    colours = read_picture_file(tmp_path / "a.png", 3, ".png").photo.pixels
    assert abs(colours[:, :, 15:].astype(int) - np.array([250, 40, 90])[:, None, None]).max() <= 8
    file = read_picture_file(tmp_path / "a.png", 3, ".jpg")
    assert (file.photo.alpha, file.photo.note) == (None, "transparency made white")
    assert (file.photo.pixels[:, :, 0] == 255).all()


def test_jpeg_is_saved_without_subsampling_at_the_highest_quality(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", subsampling="4:2:0", quality=80)
    restored(tmp_path / "a.jpg", tmp_path / "b.jpg")
    picture().save(tmp_path / "c.jpg", quality=98)
    with Image.open(tmp_path / "b.jpg") as made, Image.open(tmp_path / "c.jpg") as best:
        assert JpegImagePlugin.get_sampling(made) == 0
        assert made.quantization == best.quantization  # type: ignore[attr-defined]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp"])
def test_names_in_tags_keep_their_letters(suffix: str, tmp_path: Path) -> None:
    names = {Base.Artist: "Jürgen Müller", Base.Copyright: "© Müller"}
    exif = tags()
    exif.update({tag: name.encode() for tag, name in names.items()})
    exif.get_ifd(IFD.Exif)[Base.CameraOwnerName] = names[Base.Artist].encode()
    picture().save(tmp_path / f"a{suffix}", exif=exif)
    restored(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
    with Image.open(tmp_path / f"b{suffix}") as made:
        read = {tag: made.getexif()[tag].encode("latin-1").decode() for tag in names}
        owner = made.getexif().get_ifd(IFD.Exif)[Base.CameraOwnerName]
    assert read == names
    assert (owner if isinstance(owner, bytes) else owner.encode("latin-1")).decode() == names[Base.Artist]


def test_no_resolution_is_made_up(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tiff")
    restored(tmp_path / "a.tiff", tmp_path / "b.tiff")
    with Image.open(tmp_path / "b.tiff") as made:
        assert Base.XResolution not in made.getexif()


def test_an_unchanged_picture_is_the_file_itself(tmp_path: Path) -> None:
    deep = Image.fromarray(np.asarray(picture("L")).astype(np.uint16) * 257)
    for source, name in ((picture(), "a.jpg"), (picture(), "a.webp"), (deep, "a.png")):
        path = tmp_path / name
        source.save(path, quality=80)
        file = read_picture_file(path, 3, path.suffix)
        result = Image.fromarray(np.broadcast_to(file.photo.pixels, (3, 9, 14)).transpose(1, 2, 0))
        file.save(result, path.with_stem("b"), {"seed": 7})
        assert path.with_stem("b").read_bytes() == path.read_bytes()
        for other in (
            read_picture_file(path, 3, ".tiff"),
            read_picture_file(path, 3, path.suffix, frame=0),
            read_picture_file(path, 3, path.suffix, strips=True),
        ):
            assert not other.is_kept(result)
        assert not file.is_kept(Image.eval(result, lambda value: value ^ 1))


def test_webp_stays_lossless(tmp_path: Path) -> None:
    for lossless in (True, False):
        picture().save(tmp_path / "a.webp", lossless=lossless)
        restored(tmp_path / "a.webp", tmp_path / "b.webp")
        assert (b"VP8L" in (tmp_path / "b.webp").read_bytes()) == lossless


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_a_frame_must_be_chosen(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    frames = [Image.new("RGB", (14, 9), (level, 0, 0)) for level in (0, 100, 200)]
    options: dict[str, Any] = {"lossless": True} if suffix == ".webp" else {}
    options |= {"compression": "tiff_lzw"} if suffix == ".tif" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(ValueError, match=rf"a{suffix}: it has 3 frames; choose one, such as --frame 0"):
        read_picture_file(path, 3, ".png")
    for number, level in enumerate((0, 100, 200)):
        photo = read_picture_file(path, 3, ".png", frame=number).photo
        assert np.abs(photo.pixels[0].astype(int) - level).max() <= 2
        assert photo.note is None
    with pytest.warns(UserWarning, match="only the first of several pictures"):
        assert as_photo(path, 3).max() <= 2
    with pytest.raises(ValueError, match="no frame 3; the last is 2"):
        read_picture_file(path, 3, ".png", frame=3)


def test_previews_of_a_camera_are_left_out_with_a_note(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[picture().reduce(2)])
    file = read_picture_file(tmp_path / "a.jpg", 3, ".jpg")
    assert file.photo.pixels.shape == (3, 9, 14)
    assert file.photo.note == "only the first of several pictures in the file"


def test_suffixes_of_results() -> None:
    files = {"a.JPG": ".JPG", "a.jpeg": ".jpeg", "a.tif": ".tif", "a.webp": ".webp", "a.gif": ".png", "a.heic": ".jpg"}
    assert {name: result_suffix(Path(name), None) for name in files} == files
    assert [result_suffix(Path("a.jpeg"), chosen) for chosen in ("jpeg", "tiff", "png")] == [".jpeg", ".tif", ".png"]
