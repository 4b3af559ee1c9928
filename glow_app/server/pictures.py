"""Pictures of answers."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from starlette.concurrency import run_in_threadpool
from torch import Tensor

from glow_app.generation import sample_grid
from glow_app.models.image_model import ImageModel
from glow_app.pictures.images import png_bytes, to_pil

__all__ = ["encode_png", "encode_pngs", "sampled_picture"]

_QUICK_VALUES = 2**14  # of images, of which a PNG is made in a fraction of a millisecond


def encode_png(image: Tensor, text: Mapping[str, Any] | None = None) -> str:
    """Return a uint8 image (C, H, W) as the base64 of a PNG."""
    return base64.b64encode(png_bytes(to_pil(image), text)).decode()


async def encode_pngs(images: Sequence[Tensor] | Tensor, texts: Sequence[Mapping[str, Any]] | None = None) -> list[str]:
    """Return PNGs in base64, without keeping other requests waiting."""

    def encode() -> list[str]:
        return [encode_png(image, None if texts is None else texts[number]) for number, image in enumerate(images)]

    # Less work than to wake a thread.
    is_quick = len(images) * images[0].numel() <= _QUICK_VALUES
    return encode() if is_quick else await run_in_threadpool(encode)


def sampled_picture(model: ImageModel, images: Sequence[Tensor], seed: int, label: int | None) -> Image.Image:
    """Return one drawn image as it is, or the grid that `glow sample` makes of several.

    Args:
        model: That drew them.
        images: (C, H, W), uint8, each.
        seed: Of the first.
        label: That was asked for, or None for all classes in turn.
    """
    return to_pil(images[0]) if len(images) == 1 else sample_grid(model, torch.stack(list(images)), seed, label)
