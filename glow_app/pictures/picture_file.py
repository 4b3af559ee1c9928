"""Picture files whose nature results keep: format, grey or colour, transparency, colour profile and metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from glow_app.data.decoding import HEIC_SUFFIXES, Photo, photo_of, to_srgb
from glow_app.data.resizing import array_to_image, image_to_array
from glow_app.files import FORMAT_OF, PICTURE_SUFFIXES, atomic_file
from glow_app.pictures.encoding import XMP_TEXT, picture_bytes, with_profile

# Tags of a TIFF file that say how its pixels, profile and XMP are stored, and the layers of Photoshop.
_STORAGE = {*range(254, 269), 273, *range(277, 281), 284, 317, *range(320, 348), *range(512, 533)}
_STORAGE |= {700, 34377, 34675, 37724}
_LONGEST_IN_JPEG, _LARGEST_DPI = 65_000, 1 << 16  # bytes of a segment; others do not fit into headers


@dataclass(frozen=True)
class PictureFile:
    """A picture read from a file, and what its results keep; all metadata is as it will be written.

    Args:
        photo: Its pixels, profile and transparency, and a note about what was changed or lost.
        kind: Format of results.
        is_grey: Whether the file is grey, and so are results.
        text: Text chunks of a PNG, and XMP.
        options: Further options of Pillow's ``save``, of any format.
        source: The file, if all of it was read and a result may equal it.
    """

    photo: Photo
    kind: str
    is_grey: bool
    text: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    source: bytes | None = None

    @property
    def num_metadata_bytes(self) -> int:
        """Size of the metadata and the colour profile."""
        parts = [self.photo.icc_profile, *self.text, *self.text.values(), *self.options.values()]
        return sum(len(part) for part in parts if isinstance(part, (str, bytes)))

    def is_kept(self, picture: Image.Image) -> bool:
        """Return whether a result is the file itself, of which compressing it anew would lose something."""
        if self.source is None:
            return False
        return np.array_equal(image_to_array(picture.convert("L") if self.is_grey else picture), self.photo.pixels)

    def content(self, picture: Image.Image, text: Mapping[str, Any], **options: Any) -> bytes:
        """Return the file of a result: that of the picture if it is unchanged.

        Args:
            text: Further metadata, of a PNG.
            options: Further options of Pillow's ``save``.
        """
        if self.source and self.is_kept(picture):
            return self.source
        picture = with_profile(picture.convert("L") if self.is_grey else picture, self.photo.icc_profile)
        if self.photo.alpha is not None:
            picture.putalpha(Image.fromarray(self.photo.alpha).resize(picture.size, Image.Resampling.BICUBIC))
        return picture_bytes(picture, self.kind, {**self.text, **text}, **self.options, **options)

    def save(self, picture: Image.Image, path: Path, text: Mapping[str, Any]) -> None:
        """Write the :meth:`content` of a result, atomically."""
        with atomic_file(path) as file:
            file.write(self.content(picture, text))


class FrameError(ValueError):
    """A file has several pictures and none was chosen, or not the chosen one."""


def picture_file_of(
    image: Image.Image,
    content: bytes,
    num_channels: int,
    kind: str,
    factor: int = 1,
    frame: int | None = None,
    keeps_alpha: bool = True,
    strips: bool = False,
) -> PictureFile:
    """Read an opened picture at its own size.

    Args:
        image: The picture; it is decoded and rotated in place.
        content: The file.
        num_channels: Channels of the pixels, 1 (grey) or 3 (RGB); those of a grey file always have 1.
        kind: Format of its results.
        factor: Ratio of the sides of results to its own.
        frame: Frame of an animation, or page of a TIFF file, from 0; None for the only one.
        keeps_alpha: Whether results are as transparent as the picture if their format can be; otherwise, the picture is
            composited on white.
        strips: Whether results have no metadata, and their colours are converted to sRGB.
    Raises:
        FrameError: If a frame must be chosen, or there is no such frame.
        Exception: Whatever Pillow raises for a file that it cannot read.
    """
    _choose_frame(image, frame)
    is_grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    options: dict[str, Any] = {"lossless": b"VP8L" in content} if image.format == "WEBP" else {}
    keeps_alpha = keeps_alpha and kind != "jpeg"
    photo = photo_of(image, [1 if is_grey else num_channels], keeps_alpha, is_chosen=frame is not None)
    if strips:
        if profile := photo.icc_profile:
            pixels = image_to_array(to_srgb(array_to_image(photo.pixels), profile))
            photo = replace(photo, pixels=pixels, icc_profile=None)
        return PictureFile(photo, kind, is_grey, options=options)
    text, kept, notes = _metadata(image, kind, factor)
    photo = replace(photo, note=", ".join(filter(None, [photo.note, *notes])) or None)
    own_kind = "jpeg" if image.format == "MPO" else (image.format or "").lower()
    is_whole = frame is None and factor == 1 and kind == own_kind
    return PictureFile(photo, kind, is_grey, text, options | kept, content if is_whole else None)


def _metadata(image: Image.Image, kind: str, factor: int) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """Return text chunks, options of Pillow's ``save``, and notes of what is left out, for results of a format."""
    text = {key: value for key, value in getattr(image, "text", {}).items() if key != "Raw profile type exif"}
    kept = {name: image.info[name] for name in ("xmp", "comment") if isinstance(image.info.get(name), bytes)}
    if "xmp" in kept:
        text[XMP_TEXT] = kept["xmp"].decode(errors="replace")
    exif = _exif_of(image, factor)
    if kind == "tiff" and "xmp" in kept:
        exif[Base.XMLPacket] = kept["xmp"]
    lost: dict[str, str] = {}
    try:
        # Only for TIFF as tags, whose letters it would lose as bytes.
        kept["exif"] = (exif if kind == "tiff" else exif.tobytes()) if exif else b""
    except Exception:  # Pillow writes values of any type that it reads, or fails
        lost["exif"] = "damaged"
    if kind == "jpeg":
        lost |= {name: "too long for JPEG" for name, value in kept.items() if len(value) > _LONGEST_IN_JPEG}
    options: dict[str, Any] = {name: value for name, value in kept.items() if value and name not in lost}
    dpi = image.info.get("dpi")
    is_made_up = image.format == "TIFF" and Base.XResolution not in image.getexif()  # Pillow says 1 then
    if isinstance(dpi, tuple) and all(0 < value < _LARGEST_DPI for value in dpi) and not is_made_up:
        options["dpi"] = tuple(map(float, dpi))
    options["extra"] = b"".join(  # of JPEG: captions and credits in IPTC
        b"\xff\xed" + (2 + len(content)).to_bytes(2, "big") + content
        for marker, content in getattr(image, "applist", ())
        if marker == "APP13"
    )
    return text, options, [f"{name.upper()} left out ({why})" for name, why in lost.items()]


def _choose_frame(image: Image.Image, frame: int | None) -> None:
    """Go to a frame; raise FrameError if there are several and none is chosen, or there is no such frame."""
    count = getattr(image, "n_frames", 1)
    if frame is None and count > 1 and image.format != "MPO":  # of cameras: the photograph, then previews
        raise FrameError(f"it has {count} frames; choose one, such as --frame 0")
    if frame is not None and frame >= count:
        raise FrameError(f"it has no frame {frame}; the last is {count - 1}")
    image.seek(frame or 0)


def _exif_of(image: Image.Image, factor: int) -> Image.Exif:
    """Return what the EXIF tags of a decoded image say about it and its results, not about its storage."""
    exif = image.getexif()
    for tag in _STORAGE.intersection(exif):
        del exif[tag]
    parts = [exif.get_ifd(part) for part in {IFD.Exif, IFD.GPSInfo}.intersection(exif)]  # as the file will be closed
    for tags in (exif, *parts):
        tags.pop(IFD.Interop, None)  # an offset in the file
        for tag, value in tags.items():
            if isinstance(value, str) and not value.isascii():  # read as Latin-1, and written with question marks
                tags[tag] = value.encode("latin-1")
        sides = zip((Base.ExifImageWidth, Base.ExifImageHeight), image.size, strict=True)
        tags.update({tag: factor * side for tag, side in sides if tag in tags})
    return exif


def result_suffix(path: Path, chosen: str | None) -> str:
    """Return the suffix of results of a picture: its own, unless another format is chosen or needed.

    Results of HEIC are JPEG, and those of formats that are not written are PNG.
    """
    own = FORMAT_OF.get(path.suffix.lower())
    chosen = chosen or own or ("jpeg" if path.suffix.lower() in HEIC_SUFFIXES else "png")
    return path.suffix if own == chosen else PICTURE_SUFFIXES[chosen][0]
