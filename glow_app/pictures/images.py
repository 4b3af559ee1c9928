"""Convert tensors to pictures, compose grids with captions, and write and read PNGs with metadata."""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from torch import Tensor

from glow_app.data.decoding import open_image
from glow_app.data.resizing import array_to_image
from glow_app.files import FORMAT_OF, atomic_file
from glow_app.pictures.encoding import picture_bytes

LONGEST_ROW = 12  # maximum number of frames in a row of a strip
WHITE, LINE = 255, 128  # grey levels of the background and of the lines around images
PAPER, INK = "#ffffff", "#333333"  # of captions
MAX_FONT, MIN_FONT, SPACE = 13, 9, 5  # pixels: sizes of captions, and space around them


def to_pil(image: Tensor) -> Image.Image:
    """Convert a uint8 tensor (C, H, W) to a Pillow image; raise ValueError if C is neither 1 nor 3."""
    if image.shape[0] not in (1, 3):
        raise ValueError(f"an image has {image.shape[0]} channels; expected 1 (grey) or 3 (RGB)")
    return array_to_image(image.cpu().numpy())


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Return images (B, C, H, W), on the CPU, enlarged by an integer factor through repetition of pixels."""
    return images.cpu().repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def columns_for(count: int, period: int = 1) -> int:
    """Return the number of columns of an approximately square grid; layouts without a partial row are preferred.

    Args:
        period: Number of images after which their classes repeat; the columns are a multiple of it, one class in each.
    """
    # How far each layout without a partial row is from a square.
    whole = [columns for columns in range(period, count + 1, period) if count % columns == 0]
    ratio, columns = min(((max(n**2, count) / min(n**2, count), -n) for n in whole), default=(math.inf, 0))
    if ratio <= 2.5:
        return -columns
    return math.ceil(math.sqrt(count)) if period == 1 else period * max(1, round(math.sqrt(count) / period))


def grid(
    images: Tensor,
    columns: int | None = None,
    min_side: int = 480,
    *,
    above: Sequence[str] = (),
    left: Sequence[str] = (),
) -> Image.Image:
    """Return a grid of images as a picture, row by row.

    Args:
        images: (B, C, H, W), uint8.
        columns: Images per row; from :func:`columns_for` if None.
        min_side, above, left: As for :func:`picture_of_rows`.
    """
    columns = min(columns or columns_for(len(images)), len(images))
    return picture_of_rows(images.split(columns), min_side, above=above[:columns], left=left)


def picture_of_rows(
    rows: Sequence[Tensor], min_side: int = 480, *, above: Sequence[str] = (), left: Sequence[str] = ()
) -> Image.Image:
    """Return rows of images as a picture, with thin lines around images and white space after shorter rows.

    Args:
        rows: Images of each row, uint8 (B, C, H, W); B may differ.
        min_side: Images are enlarged by an integer factor until the picture is at least this wide, unless its height
            would exceed four times this number.
        above, left: Captions of columns and rows; see :func:`captioned`.
    """
    columns = max(map(len, rows))
    channels, height, width = rows[0].shape[1:]
    factor = max(1, min(math.ceil(min_side / (columns * width)), 4 * min_side // (len(rows) * height)))
    gap = 1 if factor == 1 else 2
    cell_height, cell_width = height * factor + gap, width * factor + gap
    shape = (channels, len(rows) * cell_height + gap, columns * cell_width + gap)
    canvas = torch.full(shape, WHITE, dtype=torch.uint8)
    for number, row in enumerate(rows):
        top = number * cell_height
        canvas[:, top : top + cell_height + gap, : len(row) * cell_width + gap] = LINE
        for index, image in enumerate(enlarged(row, factor)):
            x, y = gap + index * cell_width, gap + top
            canvas[:, y : y + height * factor, x : x + width * factor] = image
    return captioned(to_pil(canvas), above, left)


def strip(frames: Tensor, num_frames: int) -> Image.Image:
    """Return an interpolation as a picture: one row from each image to the next, or several rows if it is long.

    Args:
        frames: ((K - 1) * (num_frames - 1) + 1, C, H, W), uint8, from :func:`~glow_app.pipeline.interpolate`.
        num_frames: Number of frames from each of the K images to the next, both included.
    """
    lengths = [num_frames] if num_frames <= LONGEST_ROW else range(LONGEST_ROW, LONGEST_ROW // 2, -1)
    columns = min(lengths, key=lambda columns: -num_frames % columns)
    parts = [frames[start : start + num_frames] for start in range(0, len(frames) - 1, num_frames - 1)]
    return picture_of_rows([row for part in parts for row in part.split(columns)])


@cache
def font(size: int = MAX_FONT) -> ImageFont.FreeTypeFont:
    """Return Pillow's built-in font, of a size in pixels."""
    return ImageFont.load_default(size)  # type: ignore[return-value]


def drawable(text: str) -> str:
    """Return a text in ASCII, which is all the font has: é becomes e, and other characters become ``?``."""
    decomposed = "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in decomposed)


def text_width(text: str, size: int = MAX_FONT) -> int:
    """Return the width of a text in pixels."""
    return round(font(size).getlength(text))


def captioned(picture: Image.Image, above: Sequence[str] = (), left: Sequence[str] = ()) -> Image.Image:
    """Return the picture, unchanged in the lower right corner, with captions above its columns and beside its rows.

    Args:
        picture: Grey or RGB picture with columns of equal width and rows of equal height.
        above: Caption of each column, or none; captions too wide for the smallest font are shortened.
        left: Caption of each row, or none.
    """
    if not above and not left:
        return picture
    above, left = list(map(drawable, above)), list(map(drawable, left))
    column = picture.width // max(1, len(above)) - SPACE
    sizes = range(MAX_FONT, MIN_FONT, -1)
    size = next((size for size in sizes if all(text_width(text, size) <= column for text in above)), MIN_FONT)
    top = size + 2 * SPACE if above else 0
    edge = max(map(text_width, left)) + 2 * SPACE if left else 0
    canvas = Image.new(picture.mode, (picture.width + edge, picture.height + top), PAPER)
    canvas.paste(picture, (edge, top))
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(above):
        shorter = (f"{text[:end].rstrip()}…" for end in range(len(text) - 1, 0, -1))
        shown = next((cut for cut in (text, *shorter) if text_width(cut, size) <= column), "")
        draw.text((edge + (number + 0.5) * picture.width / len(above), top / 2), shown, INK, font(size), anchor="mm")
    for number, text in enumerate(left):
        y = top + (number + 0.5) * picture.height / len(left)
        draw.text((edge - SPACE, y), text, INK, font(), anchor="rm")
    return canvas


def save_picture(picture: Image.Image, path: Path, text: Mapping[str, Any] | None = None) -> None:
    """Write a picture in the format of the suffix, atomically; a PNG has metadata for :func:`read_png_text`."""
    with atomic_file(path) as file:
        file.write(picture_bytes(picture, FORMAT_OF[path.suffix.lower()], text))


def read_png_text(path: Path) -> dict[str, str]:
    """Return the text chunks of a PNG; raise ValueError if the file is not a readable PNG."""
    try:
        with open_image(path, ["PNG"]) as picture:
            return dict(getattr(picture, "text", {}))
    except (UnidentifiedImageError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a PNG: {error}") from error
