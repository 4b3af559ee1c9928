r"""Quantisation, dequantisation, log-densities and bits per dimension.

Images are uint8. ``num_bits`` n keeps the n high bits: levels :math:`q \in \{0, \ldots, 2^n - 1\}`. The flow sees
:math:`y = (q + u) / 2^n - 1/2` with :math:`u \sim U[0, 1)`, so that

.. math:: \log P(q) \ge \mathbb E_u \log p(y) - D \log 2^n

and the right side, negated and divided by :math:`D \log 2`, is called bits/dim in the literature.
:func:`bits_per_dim` computes it for whole images; :meth:`ImageModel.dequantised_level_bits
<glow_app.models.image_model.ImageModel.dequantised_level_bits>` computes the share of each level.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.seeding import draw_rows


def quantise(images: Tensor, num_bits: int) -> Tensor:
    """Return the high bits of uint8 images.

    Args:
        images: uint8, any shape.
        num_bits: 1 to 8.
    Returns:
        Levels from 0 to ``2**num_bits - 1``, uint8.
    Raises:
        ValueError: If ``images`` is not uint8, or ``num_bits`` not 1 to 8.
    """
    if not 1 <= num_bits <= 8:
        raise ValueError(f"num_bits is {num_bits}; expected 1 to 8")
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected uint8 values from 0 to 255")
    return images >> (8 - num_bits)


def to_uint8(y: Tensor, num_bits: int) -> Tensor:
    r"""Return the uint8 image whose levels :math:`q` contain ``y``: the inverse of :func:`quantise` of its levels.

    Levels are spread over the whole range, :math:`\mathrm{round}(255\, q / (2^n - 1))`, so that white stays white;
    quantising the result gives :math:`q` again. Values outside the range are clamped.
    """
    bins = 2**num_bits
    levels = ((y + 0.5) * bins).floor().nan_to_num(nan=0.0).clamp(0, bins - 1)
    return (levels * (255.0 / (bins - 1))).round().to(torch.uint8)


def require_finite(images: Tensor) -> Tensor:
    """Return real images; raise FloatingPointError if one is not finite."""
    # to_uint8 would make them black, which could pass for samples of the model.
    if broken := int((~images.isfinite()).flatten(1).any(1).sum()):
        raise FloatingPointError(
            f"{broken} of {len(images)} images are not finite; lower the temperature or the strength, or use "
            "another checkpoint"
        )
    return images


def dequantise(
    levels: Tensor, num_bits: int, dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return :math:`y = (q + u)/2^n - 1/2` with uniform noise :math:`u`.

    Args:
        levels: From :func:`quantise`.
        num_bits: The n of the levels.
        dtype: Dtype of the result, float32 or float64.
        generator: Generator of the noise; the device's default if None.
    Raises:
        ValueError: If ``dtype`` has fewer bits, which would round values into other bins.
    """
    if dtype.itemsize < 4:
        raise ValueError(f"dtype is {dtype}; expected torch.float32 or torch.float64")
    noise = draw_rows(torch.rand, levels.shape, generator, levels.device, dtype=dtype).to(levels.device)
    # Float32 has steps of 2**-16 next to 255: a larger value would round up into the next bin.
    return noise.clamp_(max=1 - 2**-16).add_(levels).div_(2**num_bits).sub_(0.5)


def bin_centres(levels: Tensor, num_bits: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the centre of each level's bin, the value that :func:`to_uint8` recovers with the widest margin."""
    return (levels.to(dtype) + 0.5) / 2**num_bits - 0.5


def means_to_real(means: Tensor, num_bits: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return uint8 means of pixels as means of bin centres, which lie between these: they are not quantised."""
    return (means.to(dtype) * ((2**num_bits - 1) / 255) + 0.5) / 2**num_bits - 0.5


def means_to_uint8(y: Tensor, num_bits: int) -> Tensor:
    """Return the nearest uint8 means of pixels: the inverse of :func:`means_to_real`. Others are clamped."""
    levels = (y + 0.5) * 2**num_bits - 0.5
    return (levels * (255 / (2**num_bits - 1))).round().clamp(0, 255).to(torch.uint8)


def standard_normal_log_density(latents: Sequence[Tensor]) -> Tensor:
    r"""Return :math:`\log \mathcal N(z; 0, I)`, summed over all latents.

    Args:
        latents: Tensors (B, ...), one per level.
    Returns:
        (B,), nats.
    """
    squares = torch.stack([z.square().flatten(1).sum(1) for z in latents]).sum(0)
    num_dims = sum(z.shape[1:].numel() for z in latents)
    return -0.5 * (squares + num_dims * math.log(2 * math.pi))


def bits_per_dim(log_density: Tensor, num_dims: int, num_bits: int) -> Tensor:
    r"""Return :math:`(D \log 2^n - \log p(y)) / (D \log 2)`.

    Args:
        log_density: :math:`\log p(y)` of the dequantised images, nats.
        num_dims: :math:`D = C H W`.
        num_bits: The n of the levels.
    """
    return num_bits - log_density / (num_dims * math.log(2))
