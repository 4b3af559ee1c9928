"""Pictures: tensors to and from files, grids, and what a PNG says about itself."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from glow_app.data.resizing import array_to_image
from glow_app.files import atomic_file

__all__ = ["enlarged", "grid", "png_bytes", "read_png_text", "save_png", "to_pil"]


def to_pil(image: Tensor) -> Image.Image:
    """Return a uint8 tensor (C, H, W) as a picture.

    Raises:
        ValueError: If C is neither 1 nor 3.
    """
    if image.shape[0] not in (1, 3):
        raise ValueError(f"an image has {image.shape[0]} channels; pictures can be written of 1 (grey) or 3 (RGB)")
    return array_to_image(image.cpu().numpy())


def enlarged(images: Tensor, factor: int) -> Tensor:
    """Return images (B, C, H, W) on the CPU with every pixel repeated ``factor`` times each way."""
    return images.cpu().repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def grid(images: Tensor, columns: int | None = None, min_side: int = 480) -> Image.Image:
    """Return one picture of many images, row by row, with a line between them.

    Args:
        images: (B, C, H, W), uint8.
        columns: Images a row; as square as possible if None.
        min_side: Pixels are enlarged by a whole factor until a row is at least so wide: small images are hard to see.
    """
    count, channels, height, width = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    factor = math.ceil(min_side / (columns * width))
    gap = 1 if factor == 1 else 2
    cell_height, cell_width = height * factor + gap, width * factor + gap
    canvas = torch.full((channels, rows * cell_height + gap, columns * cell_width + gap), 128, dtype=torch.uint8)
    for index, image in enumerate(enlarged(images, factor)):
        top = gap + index // columns * cell_height
        left = gap + index % columns * cell_width
        canvas[:, top : top + height * factor, left : left + width * factor] = image
    return to_pil(canvas)


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
        info.add_text(key, str(value))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def read_png_text(path: Path) -> dict[str, str]:
    """Return the text chunks of a PNG.

    Raises:
        ValueError: If the file is not a readable PNG.
    """
    with _open(path) as picture:
        if picture.format != "PNG":
            raise ValueError(f"{path} is a {picture.format} file; expected a PNG written by `glow sample`")
        return dict(getattr(picture, "text", {}))


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is not a picture that can be read") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} is refused: {error}") from error
