"""Likelihoods and out-of-distribution scores of images, and how well the scores detect odd images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from glow_app.bijections import record_solves
from glow_app.conditioning import Given
from glow_app.generation.baselines import png_bits_per_dim
from glow_app.generation.inference import chosen
from glow_app.models.image_model import ImageModel
from glow_app.pictures.inputs import Pictures, as_images
from glow_app.seeding import image_generators, one_seed_each

# Names of the scores; a higher score means odder.
ODDITIES = ("bits_per_dim", "typicality", "latent_norm", "png_ratio", "spectrum")

FEW = 20  # fewer ordinary images give unreliable means and standard deviations


@dataclass(frozen=True)
class Measures:
    """Measures of B images.

    Args:
        bits_per_dim: (B,).
        level_bits: Bits/dim of each level in a single draw, (B, L), finest first.
        level_norms: Mean square of each level's whitened latent, (B, L); below 1 for ordinary images, because bin
            centres are encoded.
        png_bits_per_dim: Bits/dim of each image as a PNG, (B,).
        given: What was given, or the most likely value, under which levels and latents were measured; None for nothing.
    """

    bits_per_dim: Tensor
    level_bits: Tensor
    level_norms: Tensor
    png_bits_per_dim: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return len(self.bits_per_dim)

    def __getitem__(self, rows: slice) -> "Measures":
        columns: list[Any] = [None if column is None else column[rows] for column in vars(self).values()]
        return Measures(*columns)

    @classmethod
    def joined(cls, parts: Sequence["Measures"]) -> "Measures":
        """Return the concatenated measures of several batches."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        joined: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
        return cls(*joined)


def measure(
    model: ImageModel,
    images: Pictures,
    given: Given = None,
    *,
    num_draws: int = 1,
    seeds: Sequence[int] | None = None,
) -> Measures:
    """Measure images, each independently of the others.

    Args:
        images: uint8, (B, C, H, W), or other pictures; see :func:`~glow_app.pictures.inputs.as_images`.
        given: What is known about the images, such as their classes. If omitted, bits/dim are marginal over all
            classes, and levels and latents are measured under the most likely class of each image.
        num_draws: Number of dequantisation draws for the bits/dim.
        seeds: Seeds of the noise, one per image; 0, 1, ... if omitted.
    Raises:
        ValueError: If the number of seeds differs from that of the images, or an argument does not fit the model.
    """
    images = as_images(images, model.flow.image_shape).to(model.device)
    choices = model.conditioning.choices(given, len(images))
    seeds = one_seed_each(len(images), 0 if seeds is None else seeds)
    with record_solves(image_generators(seeds)):
        draws = model.bits_table(images, given, num_draws, image_generators(seeds))
    known = chosen(choices, draws.likeliest)
    norms = torch.stack([level.square().flatten(1).mean(1) for level in model.encode(images, known)], dim=1)
    pngs = [png_bits_per_dim(image[None].cpu().numpy(), model.num_bits) for image in images]
    known = None if known is None else known.cpu()
    return Measures(draws.bits_per_dim.cpu(), draws.level_bits.cpu(), norms.cpu(), torch.tensor(pngs), known)


@dataclass(frozen=True)
class Typical:
    """Statistics of ordinary images: mean bits/dim; mean and standard deviation, (L,), of level bits and norms."""

    bits_per_dim: float
    level_bits: tuple[Tensor, Tensor]
    level_norms: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, measures: Measures) -> "Typical":
        """Return the statistics of ordinary images, at least 2; warn if there are few."""
        if len(measures) < 2:
            raise ValueError(f"statistics of ordinary images need at least 2, preferably 100; got {len(measures)}")
        if len(measures) < FEW:
            warnings.warn(
                f"statistics of ordinary images come from only {len(measures)} images; 100 would be better",
                stacklevel=2,
            )

        def spread(values: Tensor) -> tuple[Tensor, Tensor]:
            return values.mean(0), values.std(0).clamp(min=1e-6)

        return cls(float(measures.bits_per_dim.mean()), spread(measures.level_bits), spread(measures.level_norms))


def oddities(measures: Measures, typical: Typical | None) -> dict[str, Tensor]:
    r"""Return the scores of :data:`ODDITIES`, each (B,) and higher for an odder image.

    ``bits_per_dim`` is the negative log-likelihood b; simple images of another kind are often *more* likely.
    ``typicality`` is :math:`|b - \bar b|`, the distance from the mean of ordinary images. ``latent_norm`` is the
    distance of the latents' norms from their means in standard deviations, as the root mean square over levels;
    ``spectrum`` is the same for the bits of the levels. ``png_ratio`` is :math:`b - b_\text{PNG}`, the likelihood ratio
    to a general compressor, in which the simplicity of an image cancels.

    Without statistics of ordinary images, only ``bits_per_dim`` and ``png_ratio`` are returned.

    References:
        Nalisnick et al. 2019, arXiv:1906.02994 (typicality); Serrà et al. 2020, arXiv:1909.11480 (compressors).
    """

    def distance(values: Tensor, usual: tuple[Tensor, Tensor]) -> Tensor:
        mean, std = usual
        return ((values - mean) / std).square().mean(1).sqrt()

    bits = measures.bits_per_dim
    scores = {"bits_per_dim": bits, "png_ratio": bits - measures.png_bits_per_dim}
    if typical is not None:
        scores |= {
            "typicality": (bits - typical.bits_per_dim).abs(),
            "latent_norm": distance(measures.level_norms, typical.level_norms),
            "spectrum": distance(measures.level_bits, typical.level_bits),
        }
    return {name: scores[name] for name in ODDITIES if name in scores}


@dataclass(frozen=True)
class Detection:
    """How well a score detects odd images: the scores of N ordinary and of M odd ones, AUROC, and AUPR.

    AUROC is the probability that an odd image scores higher than an ordinary one, 1/2 by chance; AUPR is the area under
    the precision-recall curve with odd as positive, the share of odd images by chance.
    """

    ordinary: Tensor
    odd: Tensor
    auroc: float
    aupr: float


def detect(ordinary: Measures, odd: Measures) -> dict[str, Detection]:
    """Return how well each score of :func:`oddities` detects odd images.

    Every other ordinary image, from the second on, goes into the statistics; the rest are compared with the odd images.
    Both halves are then alike even if the images are sorted by class.
    """
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    typical, compared = Typical.of(ordinary[1::2]), ordinary[::2]
    good, bad = oddities(compared, typical), oddities(odd, typical)
    target = torch.cat([torch.zeros(len(compared)), torch.ones(len(odd))]).long()
    detections = {}
    for name in good:
        # Ranks, because torchmetrics takes scores outside [0, 1] for logits, whose sigmoids round to the same value.
        _, ranks = torch.cat([good[name], bad[name]]).unique(return_inverse=True)
        scores = ranks.double() / len(target)
        auroc, aupr = binary_auroc(scores, target), binary_average_precision(scores, target)
        detections[name] = Detection(good[name], bad[name], float(auroc), float(aupr))
    return detections
