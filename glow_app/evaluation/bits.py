"""Mean bits/dim of images with its standard error."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.bijections import ContinuousFlow, record_solves
from glow_app.data.base import ImageSet
from glow_app.evaluation.batches import batches
from glow_app.models.base import Density
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generators


@dataclass(frozen=True)
class MeanBits:
    """Mean bits/dim of images.

    Args:
        mean: Mean over the images.
        standard_error: Standard error of the mean, as an estimate for all images of this kind.
        num_draws: Dequantisation draws per image.
    """

    mean: float
    standard_error: float
    num_draws: int


def mean_bits(model: ImageModel, images: ImageSet, num_draws: int = 1, seed: int = 0, batch_size: int = 64) -> MeanBits:
    r"""Return mean bits/dim of images.

    With one draw of the dequantisation noise u, this is the bound reported in the literature; with K draws, it is the
    importance-weighted bound, which is tighter and approaches the exact value for :math:`K \to \infty`:

    .. math:: -\log P(q) \le -\mathbb E \log \frac1K \sum_k p(q + u_k) \le -\mathbb E_u \log p(q + u)

    The first of the K draws of an image equals its single draw, so the two results differ only by the bound.

    Args:
        model: The model; class-conditional models get the labels of the images, models with a task damaged copies.
        images: At least 2.
        num_draws: The number K.
        seed: Seed of the noise of the first image; image i uses seed + i.
        batch_size: Images at a time.
    References:
        Burda et al. 2016, arXiv:1509.00519; for dequantisation Ho et al. 2019, arXiv:1902.00275.
    """
    parts: list[Tensor] = []
    first = seed
    for part, labels in batches(images, batch_size, "bits/dim"):
        seeds = range(first, first + len(part))
        part, generator = part.to(model.device), image_generators(seeds)
        condition = model.condition(part, generator)
        with record_solves(image_generators(seeds)):
            parts.append(model.bits_per_dim(part, labels, num_draws, generator, condition).cpu())
        first += len(part)
    bits = torch.cat(parts).double()
    return MeanBits(float(bits.mean()), float(bits.std() / math.sqrt(len(bits))), num_draws)


def estimated_trace_note(model: Density, num_dims: int) -> str:
    """Return a note if a continuous prior on ``num_dims`` values estimates its trace; otherwise an empty string."""
    model.eval()  # in training mode, traces are estimated from fewer dimensions on
    flows = (part for part in model.modules() if isinstance(part, ContinuousFlow))
    return ", trace of the prior estimated" if any(flow.estimates(num_dims) for flow in flows) else ""
