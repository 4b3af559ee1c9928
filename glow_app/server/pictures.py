"""Pictures of answers."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from glow_app.generation import sample_grid
from glow_app.images import png_bytes, to_pil
from glow_app.model import ImageModel

__all__ = ["encode_png", "sampled_picture"]


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
