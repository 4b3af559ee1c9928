"""Pictures that come with a request, and those that go back."""

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from glow_app.data.decoding import decode_noted
from glow_app.generation import sample_grid
from glow_app.images import png_bytes, to_pil
from glow_app.model import ImageModel
from glow_app.server.errors import ApiError
from glow_app.server.limits import Limits

__all__ = ["FORMATS", "encode_png", "read_picture", "sampled_picture"]

# What browsers show, all decoded by well-tried libraries; the others that Pillow knows stay closed to strangers.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def read_picture(text: str, image_shape: tuple[int, int, int], limits: Limits) -> tuple[Tensor, str | None]:
    """Return a picture in base64 as a uint8 tensor in the model's shape, and how it was changed for that.

    Args:
        text: A file's bytes in base64.
        image_shape: Wanted (C, H, W).
        limits: Its size is looked at before it is decoded.
    Returns:
        The image, and what was changed of its size and colour, or None.
    Raises:
        ApiError: 422 for what is no base64 or is damaged, 415 for another format, 413 for too many pixels. The message
            goes on after the picture's name.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ApiError(422, "not_base64", "no base64; expected the bytes of a file in base64") from error
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
    except Image.DecompressionBombError as error:
        raise _too_large(limits) from error
    except Exception as error:  # Pillow's plugins share no narrower type
        expected = ", ".join(FORMATS)
        raise ApiError(415, "unknown_format", f"of no known format, or damaged; expected {expected}") from error
    if width * height > limits.pixels or max(width, height) > limits.side:
        raise _too_large(limits)
    try:
        array, note = decode_noted(content, image_shape, FORMATS)
    except Exception as error:
        raise ApiError(422, "damaged_image", "truncated or damaged") from error
    return torch.from_numpy(array.copy()), note


def _too_large(limits: Limits) -> ApiError:
    message = f"too large; at most {limits.pixels:,} pixels and {limits.side:,} a side are accepted"
    return ApiError(413, "image_too_large", message)


def encode_png(image: Tensor, text: Mapping[str, Any] | None = None) -> str:
    """Return a uint8 image (C, H, W) as the base64 of a PNG."""
    return base64.b64encode(png_bytes(to_pil(image), text)).decode()


def sampled_picture(model: ImageModel, images: Sequence[Tensor], seed: int, label: int | None) -> Image.Image:
    """Return one drawn image as it is, or the grid that `glow sample` makes of several.

    Args:
        model: That drew them.
        images: (C, H, W), uint8, each.
        seed: Of the first.
        label: That was asked for, or None for all classes in turn.
    """
    return to_pil(images[0]) if len(images) == 1 else sample_grid(model, torch.stack(list(images)), seed, label)
