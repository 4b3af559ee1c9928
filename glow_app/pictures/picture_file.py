"""Picture files whose nature results keep: format, grey or colour, transparency, colour profile and metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from glow_app.data.decoding import HEIC_SUFFIXES, Photo, photo_of, to_srgb
from glow_app.data.resizing import array_to_image, image_to_array
from glow_app.files import FORMAT_OF, PICTURE_SUFFIXES, atomic_file
from glow_app.pictures.images import XMP_TEXT, picture_bytes, with_profile
from glow_app.pictures.inputs import opened

# Tags of a TIFF file that say how its pixels, profile and XMP are stored, and the layers of Photoshop.
_STORAGE = {*range(254, 269), 273, *range(277, 281), 284, 317, *range(320, 348), *range(512, 533)}
_STORAGE |= {700, 34377, 34675, 37724}


@dataclass(frozen=True)
class PictureFile:
    """A picture read from a file, and what its results keep.

    Args:
        photo: Its pixels, profile and transparency, and a note about what was changed or lost.
        is_grey: Whether the file is grey, and so are results.
        exif: EXIF tags, without the orientation, which has been applied.
        text: Text chunks of a PNG, and XMP.
        options: Further options of Pillow's ``save``, of any format.
        source: The file, if all of it was read and may be kept.
    """

    photo: Photo
    is_grey: bool
    exif: Image.Exif
    text: Mapping[str, str]
    options: Mapping[str, Any]
    source: Path | None = None

    def is_kept(self, picture: Image.Image, path: Path) -> bool:
        """Return whether a result is the file itself, of which compressing it anew would lose something."""
        if self.source is None or FORMAT_OF.get(self.source.suffix.lower()) != FORMAT_OF[path.suffix.lower()]:
            return False
        return np.array_equal(image_to_array(picture.convert("L") if self.is_grey else picture), self.photo.pixels)

    def save(self, picture: Image.Image, path: Path, text: Mapping[str, Any]) -> None:
        """Write a result in the format of the suffix, atomically; ``text`` is further metadata of a PNG.

        An unchanged picture is a copy of the file.
        """
        if self.source and self.is_kept(picture, path):
            with atomic_file(path) as file:
                file.write(self.source.read_bytes())
            return
        picture = with_profile(picture.convert("L") if self.is_grey else picture, self.photo.icc_profile)
        if self.photo.alpha:
            picture.putalpha(self.photo.alpha.resize(picture.size, Image.Resampling.BICUBIC))
        kind, options = FORMAT_OF[path.suffix.lower()], {**self.options}
        if exif := self._exif_for(picture.size, kind):
            options["exif"] = exif
        with atomic_file(path) as file:
            file.write(picture_bytes(picture, kind, {**self.text, **text}, **options))

    def _exif_for(self, size: tuple[int, int], kind: str) -> Image.Exif:
        """Return the EXIF tags of a result."""
        if IFD.Exif in self.exif:
            tags = self.exif.get_ifd(IFD.Exif)
            sides = zip((Base.ExifImageWidth, Base.ExifImageHeight), size, strict=True)
            tags.update({tag: side for tag, side in sides if tag in tags})
        if kind == "tiff" and "xmp" in self.options:
            self.exif[Base.XMLPacket] = self.options["xmp"]
        return self.exif


def read_picture_file(
    path: str | Path,
    num_channels: int,
    suffix: str,
    frame: int | None = None,
    keeps_alpha: bool = True,
    strips: bool = False,
) -> PictureFile:
    """Read a picture file at its own size.

    Args:
        path: A picture file.
        num_channels: Channels of the pixels, 1 (grey) or 3 (RGB); those of a grey file always have 1.
        suffix: Suffix of its results.
        frame: Frame of an animation, or page of a TIFF file, from 0; None for the only one.
        keeps_alpha: Whether results are as transparent as the picture if their format can be; otherwise, the picture is
            composited on white.
        strips: Whether results have no metadata, and their colours are converted to sRGB.
    Raises:
        ValueError: If the picture cannot be read, or a frame must be chosen.
    """
    with opened(path) as image:
        _choose_frame(image, frame)
        is_grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
        options: dict[str, Any] = {}
        if image.format == "WEBP":
            options["lossless"] = b"VP8L" in Path(path).read_bytes()
        keeps_alpha &= FORMAT_OF[suffix.lower()] != "jpeg"
        photo = photo_of(image, [1 if is_grey else num_channels], keeps_alpha)
        if strips:
            if profile := photo.icc_profile:
                pixels = image_to_array(to_srgb(array_to_image(photo.pixels), profile))
                photo = replace(photo, pixels=pixels, icc_profile=None)
            return PictureFile(photo, is_grey, Image.Exif(), {}, options)
        text = {key: value for key, value in getattr(image, "text", {}).items() if key != "Raw profile type exif"}
        if xmp := image.info.get("xmp"):
            text[XMP_TEXT] = xmp.decode(errors="replace")
        options |= {name: image.info[name] for name in ("dpi", "xmp", "comment") if name in image.info}
        if image.format == "TIFF" and Base.XResolution not in image.getexif():
            options.pop("dpi", None)  # Pillow says 1 then
        options["extra"] = b"".join(  # of JPEG: captions and credits in IPTC
            b"\xff\xed" + (2 + len(content)).to_bytes(2, "big") + content
            for marker, content in getattr(image, "applist", ())
            if marker == "APP13"
        )
        source = Path(path) if frame is None else None
        return PictureFile(photo, is_grey, _exif_of(image), text, options, source)


def _choose_frame(image: Image.Image, frame: int | None) -> None:
    """Go to a frame; raise ValueError if there are several and none is chosen, or there is no such frame."""
    count = getattr(image, "n_frames", 1)
    if frame is None and count > 1 and image.format != "MPO":  # of cameras: the photograph, then previews
        raise ValueError(f"it has {count} frames; choose one, such as --frame 0")
    if frame is not None and frame >= count:
        raise ValueError(f"it has no frame {frame}; the last is {count - 1}")
    image.seek(frame or 0)


def _exif_of(image: Image.Image) -> Image.Exif:
    """Return what the EXIF tags of a decoded image say about it, not about its storage."""
    exif = image.getexif()
    for tag in _STORAGE.intersection(exif):
        del exif[tag]
    parts = [exif.get_ifd(part) for part in {IFD.Exif, IFD.GPSInfo}.intersection(exif)]  # as the file will be closed
    for tags in (exif, *parts):
        tags.pop(IFD.Interop, None)  # an offset in the file
        for tag, value in tags.items():
            if isinstance(value, str) and not value.isascii():  # read as Latin-1, and written with question marks
                tags[tag] = value.encode("latin-1")
    return exif


def result_suffix(path: Path, chosen: str | None) -> str:
    """Return the suffix of results of a picture: its own, unless another format is chosen or needed.

    Results of HEIC are JPEG, and those of formats that are not written are PNG.
    """
    own = FORMAT_OF.get(path.suffix.lower())
    chosen = chosen or own or ("jpeg" if path.suffix.lower() in HEIC_SUFFIXES else "png")
    return path.suffix if own == chosen else PICTURE_SUFFIXES[chosen][0]
