"""Pictures: tensors to and from files, grids, and what a PNG says about itself."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from glow_app.data.decoding import is_profile_for
from glow_app.data.resizing import array_to_image
from glow_app.files import atomic_file
from glow_app.pictures.captions import captioned

LONGEST_ROW = 12  # frames of a strip
WHITE, LINE = 255, 128  # grey levels of the paper, and of the lines around images


def to_pil(image: Tensor) -> Image.Image:
    """Return a uint8 tensor (C, H, W) as a picture.

    Raises:
        ValueError: If C is neither 1 nor 3.
    """
    if image.shape[0] not in (1, 3):
        raise ValueError(f"an image has {image.shape[0]} channels; pictures can be written of 1 (grey) or 3 (RGB)")
    return array_to_image(image.cpu().numpy())


def with_profile(picture: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """Return a grey or RGB picture with a colour profile, which its files keep, if it is one for its channels."""
    if icc_profile is not None and is_profile_for(icc_profile, len(picture.getbands())):
        picture.info["icc_profile"] = icc_profile
    return picture


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Return images (B, C, H, W) on the CPU with every pixel repeated ``factor`` times each way."""
    return images.cpu().repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def columns_for(count: int, turn: int = 1) -> int:
    """Return images a row that make about a square, full rows before others.

    Args:
        count: How many images.
        turn: After how many images the first kind comes again: rows are of whole turns, so that a kind has a column.
    Raises:
        ValueError: If there are none.
    """
    if not count:
        raise ValueError("there are no images; expected at least one")
    whole = (columns for columns in range(turn, count + 1, turn) if count % columns == 0)
    nearest = min(whole, key=lambda columns: (_out_of_square(columns, count), -columns), default=count)
    if nearest % turn == 0 and _out_of_square(nearest, count) <= 2.5:
        return nearest
    return math.ceil(math.sqrt(count)) if turn == 1 else turn * max(1, round(math.sqrt(count) / turn))


def _out_of_square(columns: int, count: int) -> float:
    return max(columns**2, count) / min(columns**2, count)


def grid(
    images: Tensor,
    columns: int | None = None,
    min_side: int = 480,
    *,
    above: Sequence[str] = (),
    left: Sequence[str] = (),
) -> Image.Image:
    """Return one picture of many images, row by row; see :func:`picture_of_rows`.

    Args:
        images: (B, C, H, W), uint8.
        columns: Images a row; as :func:`columns_for` if None.
        min_side: Of the picture.
        above: A caption for each column.
        left: A caption for each row.
    """
    columns = min(columns or columns_for(len(images)), len(images))
    return picture_of_rows(images.split(columns), min_side, above=above[:columns], left=left)


def picture_of_rows(
    rows: Sequence[Tensor], min_side: int = 480, *, above: Sequence[str] = (), left: Sequence[str] = ()
) -> Image.Image:
    """Return one picture of rows of images, each image within a thin line; where a row is shorter, it is white.

    Args:
        rows: (B, C, H, W), uint8, each; B may differ.
        min_side: Pixels are enlarged by a whole factor until a row is at least so wide, but the picture not more than
            four times as high: small images are hard to see.
        above: A caption for each column; see :func:`~glow_app.pictures.captions.captioned`.
        left: A caption for each row.
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
    """Return frames between pictures: a row from each picture to the next, both included, or several rows if many.

    Args:
        frames: ((K - 1) * (num_frames - 1) + 1, C, H, W), uint8, as :func:`~glow_app.generation.interpolate` returns.
        num_frames: From each of the K pictures to the next, both included.
    """
    columns = num_frames
    if num_frames > LONGEST_ROW:
        shorter = range(LONGEST_ROW, LONGEST_ROW // 2, -1)
        columns = min(shorter, key=lambda columns: -num_frames % columns)
    parts = [frames[start : start + num_frames] for start in range(0, len(frames) - 1, num_frames - 1)]
    return picture_of_rows([row for part in parts for row in part.split(columns)])


def save_png(picture: Image.Image, path: Path, text: Mapping[str, Any] | None = None) -> None:
    """Write a PNG, whole or not at all.

    Args:
        picture: What to write.
        path: Where to; an existing file is replaced.
        text: Kept in the PNG's text chunks and read by :func:`read_png_text`.
    """
    with atomic_file(path) as file:
        file.write(png_bytes(picture, text))


def png_bytes(picture: Image.Image, text: Mapping[str, Any] | None = None) -> bytes:
    """Return what :func:`save_png` writes."""
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, str(value).encode("utf-8", "backslashreplace").decode())  # of file names that are not UTF-8
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def read_png_text(path: Path) -> dict[str, str]:
    """Return the text chunks of a PNG.

    Raises:
        ValueError: If the file is not a readable PNG.
    """
    try:
        picture = Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is refused: {error}") from error
    with picture:
        if picture.format != "PNG":
            raise ValueError(f"{path} is a {picture.format} file; expected a PNG written by `glow sample`")
        return dict(getattr(picture, "text", {}))
