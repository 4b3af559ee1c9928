"""Decode image files of any mode to uint8 arrays."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageFilter, ImageOps, UnidentifiedImageError

from glow_app.data.resizing import image_to_array, resize_image
from glow_app.data.splits import Resize
from glow_app.messages import size_text

# Excludes formats that Pillow decodes in Python (such as run-length encoded BMP, refused below) or by another program
# (such as EPS), and AVIF and JPEG 2000: a small file of these may take minutes and gigabytes to decode.
_DECODED = ("BMP", "DIB", "GIF", "ICO", "JPEG", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")

# How files begin, of formats that are not read; an SVG file may begin with a comment.
_UNREAD = {
    "AVIF": rb".{4}ftypavi[fs]",
    "JPEG 2000": rb".{4}jP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XL": rb".{4}JXL \r\n\x87\n|\xff\x0a",
    "SVG": rb".{,4000}<svg",
}

HEIC_SUFFIXES = frozenset({".heic", ".heif"})
HEIC_EXTRA = "pip install 'glow-app[heic]'"

_SIZE_FOR_COLOUR = (256, 256)  # size at which an image is checked for colour
_LONGEST_SIDE = 1 << 18
_LONGEST_TEXT = 10_000  # characters of the metadata of a sample

# Largest difference between the channels of a pixel that still counts as grey.
_GREY_TOLERANCE = 8
_NEARBY = 8  # pixels, standard deviation: how far visible colours spread into transparent parts


def can_read_heic() -> bool:
    """Return whether the extra ``heic`` is installed."""
    return find_spec("pillow_heif") is not None


@cache
def readable_formats() -> dict[str, str]:
    """Return the supported file extensions (lower case, with dot) and the Pillow format of each."""
    extensions = Image.registered_extensions()
    return {ext: name for ext, name in extensions.items() if name in _DECODED and name in Image.OPEN}


def decode_image(source: Path | bytes, image_shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    """Decode the first frame of an image, upright by its EXIF tag, with transparency composited on white, to 8 bits.

    Args:
        image_shape: (C, H, W) of the result; C is 1 or 3.
        resize: As for :func:`~glow_app.data.resizing.resize_image`.
    Shape:
        uint8, (C, H, W).
    Raises:
        Exception: Whatever Pillow raises for a file that it cannot read; its plugins share no narrower type.
    """
    with open_image(source) as image:
        _turn_upright(image, image_shape)
        return _fitted(_opaque(image), image_shape, resize)


def decode_photo(source: Path | bytes, num_channels: int, short_side: int) -> np.ndarray:
    """Decode an image as :func:`decode_image` does, but keep its aspect ratio, uint8 (num_channels, H, W).

    Args:
        num_channels: 1 (grey) or 3 (RGB).
        short_side: The image is reduced so that its short side is at most this many pixels.
    """
    with open_image(source) as image:
        _turn_upright(image, (num_channels, short_side, short_side))
        scale = min(1.0, short_side / min(image.size))
        width, height = (max(1, round(scale * length)) for length in image.size)
        return _fitted(_opaque(image), (num_channels, height, width), "stretch")


class UnsupportedPictureError(ValueError):
    """An image is intact but of an unsupported kind."""


@dataclass(frozen=True)
class Photo:
    """A decoded image.

    Args:
        pixels: uint8 (C, H, W).
        icc_profile: Its colour profile; None if it was resized, has none, or one for another number of channels.
        note: What was changed or lost, in words for users; None if nothing.
        alpha: Its transparency, uint8 (H, W), if it was to be kept and there is any.
        drawn: Seed, model and what was given, as in the text chunks of a PNG of one sample; empty for other images.
    """

    pixels: np.ndarray
    icc_profile: bytes | None
    note: str | None
    alpha: np.ndarray | None = None
    drawn: Mapping[str, str] = field(default_factory=dict)


def photo_of(image: Image.Image, shape: Sequence[int], keeps_alpha: bool = False, is_chosen: bool = False) -> Photo:
    """Return an opened image, upright, with 8 bits per value.

    Args:
        image: From :func:`open_image`; it is decoded and rotated in place.
        shape: (C, H, W), to which it is cropped and resized as by :func:`decode_image`; or (C,), to keep its size and
            colour profile. C is 1 or 3.
        keeps_alpha: Whether an image of its own size keeps its transparency apart, which is otherwise composited on
            white. Colours of fully transparent pixels, which mean nothing, become similar to those nearby.
        is_chosen: Whether this frame of an animation was asked for, and so needs no note.
    Raises:
        Exception: Whatever Pillow raises for a file that it cannot read.
    """
    num_channels, *sides = shape
    notes = ["reduced to 8 bits per value"] if _is_deep(image) else []
    if getattr(image, "is_animated", False) and not (image.tell() or is_chosen):
        notes.append("only the first of several pictures in the file")
    if not sides:
        return _at_its_size(image, num_channels, keeps_alpha, notes)
    height, width = sides
    size = _turn_upright(image, (num_channels, height, width))
    upright = _opaque(image)
    if size != (width, height):
        scale = min(size[0] / width, size[1] / height)
        steps = ["cropped"] if max(size[0] - scale * width, size[1] - scale * height) >= 1 else []  # pixel
        steps += [] if scale == 1 else ["reduced"] if scale > 1 else ["enlarged"]
        notes.append(f"{' and '.join(steps)} to {size_text(width, height)}")
    if num_channels == 1 and _has_colour(upright, height, width):
        notes.append("colours made grey")
    text = getattr(image, "text", {})
    is_sample = {"seed", "given"} <= text.keys() and text["seed"].isdecimal() and "count" not in text  # and not a grid
    drawn = {key: text[key][:_LONGEST_TEXT] for key in ("seed", "given", "model") if is_sample and key in text}
    pixels = _fitted(upright, (num_channels, height, width), "crop")
    return Photo(pixels, None, ", ".join(notes) or None, drawn=drawn)


def _at_its_size(image: Image.Image, num_channels: int, keeps_alpha: bool, notes: list[str]) -> Photo:
    profile, alpha = image.info.get("icc_profile"), None
    _turn_upright(image, (num_channels, _LONGEST_SIDE, _LONGEST_SIDE))
    if image.has_transparency_data:
        channel = (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
        alpha = None if channel.getextrema()[0] == 255 else channel
    if alpha and keeps_alpha:
        upright = _without_alpha(image.convert("RGBA"))
    else:
        upright = _opaque(image)
        notes += ["transparency made white"] if alpha else []
        alpha = None
    if image.mode == "CMYK":
        notes.append("CMYK made RGB")
        if profile and is_profile_for(profile, 4):
            upright = to_srgb(upright, profile)
        profile = None
    if num_channels == 1 and _has_colour(upright, *_SIZE_FOR_COLOUR):
        notes.append("colours made grey")
    pixels = _fitted(upright, (num_channels, upright.height, upright.width), "stretch")
    kept = profile if isinstance(profile, bytes) and is_profile_for(profile, num_channels) else None
    if profile and kept is None:
        notes.append("colour profile left out")
    return Photo(pixels, kept, ", ".join(notes) or None, None if alpha is None else np.asarray(alpha))


def _is_deep(image: Image.Image) -> bool:
    """Return whether an opened image, not decoded yet, has more than 8 bits per value."""
    is_deep = image.mode.startswith(("I", "F"))
    for codec, *_, options in getattr(image, "tile", ()):
        is_ppm = codec.startswith("ppm") and isinstance(options, tuple)  # the second number is the maximum value
        is_565 = "BGR;16" in str(options)  # 16 bits per pixel, not per value
        is_deep |= (";16" in str(options) and not is_565) or (is_ppm and options[1] > 255)
    return is_deep


def _without_alpha(rgba: Image.Image) -> Image.Image:
    """Return the colours of an image; visible colours spread into fully transparent parts."""
    # In mode RGBa, colours are multiplied by alpha, so transparent pixels do not count.
    nearby = rgba.convert("RGBa").filter(ImageFilter.GaussianBlur(_NEARBY)).convert("RGBA").convert("RGB")
    colours = rgba.convert("RGB")
    colours.paste(nearby, mask=rgba.getchannel("A").point([255] + [0] * 255))
    return colours


def to_srgb(image: Image.Image, icc_profile: bytes) -> Image.Image:
    """Return an image with the colours that its profile means in sRGB; grey images stay grey, others become RGB."""
    profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None  # not in place
    return converted.convert("L") if image.mode == "L" else converted


def is_profile_for(icc_profile: bytes, num_channels: int) -> bool:
    """Return whether a colour profile is for grey images (1 channel), RGB images (3) or CMYK images (4)."""
    return icc_profile[16:20] == {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}[num_channels]


def open_image(source: Path | bytes, formats: list[str] | tuple[str, ...] | None = None) -> Image.Image:
    """Open an image without decoding it.

    Args:
        formats: Pillow's names of the formats to try; all supported ones if omitted, or HEIC for its suffix.
    """
    if isinstance(source, Path) and source.suffix.lower() in HEIC_SUFFIXES and formats is None:
        if not can_read_heic():
            raise ValueError(f"it is a HEIC picture; run: {HEIC_EXTRA}")
        from pillow_heif import register_heif_opener

        register_heif_opener()
        formats = ["HEIF"]
    try:
        file = source if isinstance(source, Path) else io.BytesIO(source)
        return Image.open(file, formats=formats or _DECODED)
    except UnidentifiedImageError as error:
        with open(source, "rb") if isinstance(source, Path) else io.BytesIO(source) as content:
            head = content.read(4096)
        for name, beginning in _UNREAD.items():
            if re.match(beginning, head, re.DOTALL):
                raise UnidentifiedImageError(f"{name} is not supported; save it as PNG") from error
        raise UnidentifiedImageError("unknown image format, or damaged") from error
    except Image.DecompressionBombError as error:  # Pillow's message calls it an attack
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ValueError(f"it has more than {most:,} pixels; reduce it or cut it into parts") from error


def _turn_upright(image: Image.Image, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Decode an opened image and turn it upright, perhaps at reduced size; return its full width and height."""
    original_size = image.size
    if max(original_size) > _LONGEST_SIDE:  # a row costs as much memory as two further pixels in each of four copies
        raise ValueError(f"a side has {max(original_size):,} pixels; expected at most {_LONGEST_SIDE:,}")
    # A JPEG can be decoded at reduced size; twice the target size is enough for the resampling filter.
    image.draft(None, (2 * max(image_shape[1:]),) * 2)
    if any(part[0] == "bmp_rle" for part in getattr(image, "tile", ())):
        raise UnsupportedPictureError("run-length encoded BMP is not supported; save it as PNG")
    image.load()
    size_before = image.size
    # In place, and converted in _fitted only if needed: copies would take a third of the time for small images.
    ImageOps.exif_transpose(image, in_place=True)
    return original_size if image.size == size_before else original_size[::-1]


def _fitted(upright: Image.Image, image_shape: tuple[int, int, int], resize: Resize) -> np.ndarray:
    channels, height, width = image_shape
    mode = "L" if channels == 1 else "RGB"
    upright = upright if upright.mode == mode else upright.convert(mode)
    return image_to_array(resize_image(upright, height, width, resize))


def _has_colour(upright: Image.Image, height: int, width: int) -> bool:
    """Return whether any pixel is coloured, beyond JPEG's rounding errors."""
    if upright.mode in ("1", "L"):
        return False
    # Reduced first, because converting a large image would copy it at full size.
    rgb = upright.convert("RGB") if upright.mode == "P" else upright
    small = resize_image(rgb, height, width, "crop").convert("RGB")
    return bool(np.ptp(np.asarray(small), axis=2).max() > _GREY_TOLERANCE)


def _opaque(image: Image.Image) -> Image.Image:
    """Return an opaque 8-bit image: scale 16-bit grey down and composite transparency on white."""
    if image.mode == "F":
        raise ValueError("32-bit float pixels have no defined range; save the image with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        integers = image.convert("I")
        if not all(0 <= int(end) <= 65535 for end in integers.getextrema()):  # type: ignore[arg-type]
            raise ValueError("32-bit integer pixels beyond 0..65535 have no defined range; save the image with 16 bits")
        # The high byte, as Pillow reads colours of 16 bits; its own conversion of grey clips at 255.
        return integers.point([value >> 8 for value in range(65536)], "L")
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
