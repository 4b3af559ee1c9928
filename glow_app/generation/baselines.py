"""Baselines for bits/dim: a histogram per pixel, and PNG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.likelihood import quantise


def histogram_bits_per_dim(train: np.ndarray, test: np.ndarray, num_bits: int) -> float:
    r"""Return bits/dim of the test images under independent histograms, one per pixel and channel.

    .. math:: P(q) = \prod_d \frac{n_d(q_d) + 1}{N + 2^n}

    Args:
        train: Images to fit the histograms to, (N, C, H, W), uint8.
        test: Images to score, (M, C, H, W), uint8.
        num_bits: Number of high bits to keep, 1 to 8.
    """
    bins = 2**num_bits
    num_dims = int(np.prod(train.shape[1:]))
    dims = torch.arange(num_dims)
    counts = torch.ones(num_dims * bins, dtype=torch.float64)
    for part in _batches(train, num_bits):
        counts += torch.bincount((dims * bins + part).flatten(), minlength=num_dims * bins)
    bits = -(counts / (len(train) + bins)).log2()
    return sum(float(bits[dims * bins + part].sum()) for part in _batches(test, num_bits)) / test.size


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


def _batches(images: np.ndarray, num_bits: int, size: int = 4096) -> list[Tensor]:
    parts = (images[start : start + size] for start in range(0, len(images), size))
    return [quantise(torch.from_numpy(np.ascontiguousarray(p)), num_bits).flatten(1).long() for p in parts]
