"""Bits/dim of a PNG, the baseline for those of a model."""

import io

import numpy as np
import torch
from PIL import Image

from glow_app.likelihood import quantise


def png_bits_per_dim(images: np.ndarray, num_bits: int) -> float:
    """Return bits/dim of a single PNG with all images, (N, 1 or 3, H, W), below each other: the header counts once.

    Grey images of 1, 2 or 4 bits are packed, as PNG allows.
    """
    levels = quantise(torch.from_numpy(np.ascontiguousarray(images)), num_bits).numpy()
    channels, width = levels.shape[1], levels.shape[3]
    strip = levels.transpose(0, 2, 3, 1).reshape(-1, width, channels)
    file = io.BytesIO()
    if channels == 1 and num_bits in (1, 2, 4):
        picture = Image.fromarray(strip[:, :, 0]).convert("P")
        picture.putpalette(bytes(value for level in range(2**num_bits) for value in (level, level, level)))
        picture.save(file, format="PNG", optimize=True, bits=num_bits)
    else:
        Image.fromarray(strip[:, :, 0] if channels == 1 else strip).save(file, format="PNG", optimize=True)
    return 8 * file.tell() / images.size
