"""Likelihoods of images, and other measures that separate odd images from ordinary ones."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.conditioning import Given
from glow_app.likelihood import quantise
from glow_app.models.image_model import ImageModel
from glow_app.pictures.inputs import Pictures
from glow_app.pipeline.inference import chosen, read
from glow_app.seeding import image_generators, one_seed_each

_MEDIAN = 0.6745  # of the magnitude of a standard normal variable


@dataclass(frozen=True)
class Measures:
    """Measures of B images.

    Args:
        bits_per_dim: (B,).
        level_bits: Bits/dim of each level in a single draw, (B, L), finest first.
        level_norms: Mean square of each level's whitened latent, (B, L); below 1 for ordinary images, because bin
            centres are encoded.
        png_bits_per_dim: Bits/dim of each image as a PNG, (B,).
        noise: Standard deviation of each image's noise, grey levels of 255, (B,), as of :func:`noise_of`.
        given: What was given, or the most likely value, under which levels and latents were measured; None for nothing.
    """

    bits_per_dim: Tensor
    level_bits: Tensor
    level_norms: Tensor
    png_bits_per_dim: Tensor
    noise: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return len(self.bits_per_dim)

    @classmethod
    def joined(cls, parts: Sequence["Measures"]) -> "Measures":
        """Return the concatenated measures of several batches."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
        return cls(*joined)


def measure(
    model: ImageModel, images: Pictures, given: Given = None, *, draws: int = 1, seeds: Sequence[int] | None = None
) -> Measures:
    """Measure images, each independently of the others.

    Args:
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        given: What is known about the images, such as their classes. If omitted, bits/dim are marginal over all
            classes, and levels and latents are measured under the most likely class of each image.
        seeds: Seeds of the noise, one per image; 0, 1, ... if omitted.
    Raises:
        ValueError: If the number of seeds differs from that of the images, or an argument does not fit the model.
    """
    images, given = read(model, images, given)
    choices = model.conditioning.unknown(len(images)) if given is None else [given]
    seeds = one_seed_each(len(images), 0 if seeds is None else seeds)
    with record_solves(image_generators(seeds)):
        table = model.bits_table(images, given, draws, image_generators(seeds))
    given = chosen(choices, table.likeliest)
    norms = torch.stack([level.square().flatten(1).mean(1) for level in model.encode(images, given)], dim=1)
    pngs = [png_bits_per_dim(image[None].cpu().numpy(), model.num_bits) for image in images]
    given = None if given is None else given.cpu()
    return Measures(
        table.bits_per_dim.cpu(), table.level_bits.cpu(), norms.cpu(), torch.tensor(pngs), noise_of(images).cpu(), given
    )


def noise_of(images: Tensor) -> Tensor:
    """Return the standard deviation of the noise of images, uint8 (B, C, H, W), in grey levels, (B,).

    It is estimated from differences that are zero for gradients and, by their median, small for edges; 0 for images
    with sides below 3.

    References:
        Fast Noise Variance Estimation, Immerkær 1996.
    """
    if min(images.shape[2:]) < 3:
        return torch.zeros(len(images))
    steps = images.float().diff(n=2, dim=2).diff(n=2, dim=3)
    return steps.abs().flatten(1).median(1).values / (6 * _MEDIAN)


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
