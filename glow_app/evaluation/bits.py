"""Mean bits/dim of images with its standard error, and how exactly a model reconstructs them."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import ContinuousFlow, record_solves
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import observed_batches
from glow_app.models import ImageModel
from glow_app.pipeline import reconstruct
from glow_app.pipeline.scoring import png_bits_per_dim
from glow_app.seeding import image_generators

PNG_IMAGES = 10_000  # maximum number of images in the PNG, all of which are in memory


@dataclass(frozen=True)
class MeanBits:
    """Mean bits/dim of images.

    Args:
        standard_error: Standard error of the mean, as an estimate for all images of this kind.
    """

    mean: float
    standard_error: float
    draws: int


def mean_bits(model: ImageModel, images: ImageSet, draws: int = 1, seed: int = 0, batch_size: int = 64) -> MeanBits:
    r"""Return mean bits/dim of images.

    With one draw of the dequantisation noise u, this is the bound reported in the literature; with K draws, it is the
    importance-weighted bound, which is tighter and approaches the exact value for :math:`K \to \infty`:

    .. math:: -\log P(q) \le -\mathbb E \log \frac1K \sum_k p(q + u_k) \le -\mathbb E_u \log p(q + u)

    The first of the K draws of an image equals its single draw, so the two results differ only by the bound.

    Args:
        model: The model; it is given what it would be given about the images in training.
        images: At least 2.
        draws: The number K.
        seed: Seed of the noise of the first image; image i uses seed + i.
    References:
        Burda et al. 2016, arXiv:1509.00519; for dequantisation Ho et al. 2019, arXiv:1902.00275.
    """
    parts: list[Tensor] = []
    for part, given, generator in observed_batches(model, images, batch_size, "bits/dim", seed):
        first = seed + sum(map(len, parts))
        with record_solves(image_generators(range(first, first + len(part)))):
            parts.append(model.bits_per_dim(part, given, draws, generator).cpu())
    bits = torch.cat(parts).double()
    return MeanBits(float(bits.mean()), float(bits.std() / math.sqrt(len(bits))), draws)


def bits_record(model: ImageModel, images: ImageSet, draws: int, seed: int = 0, batch_size: int = 64) -> dict[str, Any]:
    """Return :func:`mean_bits` with one draw and with several, and bits/dim of a PNG, as plain types."""
    one = asdict(mean_bits(model, images, 1, seed, batch_size))
    several = one if draws == 1 else asdict(mean_bits(model, images, draws, seed, batch_size))
    png = png_bits_per_dim(images.head(PNG_IMAGES), model.num_bits)
    model.eval()  # in training mode, traces are estimated from fewer dimensions on
    num_dims = math.prod(model.flow.latent_shapes[-1])
    estimated = any(isinstance(part, ContinuousFlow) and part.estimates(num_dims) for part in model.modules())
    return {"one_draw": one, "importance_weighted": several, "png": png, "trace_estimated": estimated}


@dataclass(frozen=True)
class Exactness:
    """Share of images of which every pixel is reconstructed, and the largest error of a pixel, of 255."""

    exact_images: float
    max_pixel_error: int


def exactness(model: ImageModel, images: ImageSet, batch_size: int = 64) -> Exactness:
    """Encode and decode images, and compare the result with the quantised images."""
    exact = error = 0
    for part, given, _ in observed_batches(model, images, batch_size, "reconstructing"):
        result = reconstruct(model, part, model.vocabulary.default(range(len(part)), given))
        exact += int((result.images == model.quantised(part).cpu()).flatten(1).all(1).sum())
        error = max(error, result.max_pixel_error)
    return Exactness(exact / len(images), error)
