"""Samples of a model, and how their features compare with those of real images: FID, KID, precision and recall."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from glow_app.conditioning import Given
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import batches, observed_batches
from glow_app.evaluation.features import FeatureExtractor
from glow_app.evaluation.measured_images import EvaluationData
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.sampling import Temperature, sample_batches
from glow_app.progress import tracked

# Images per feature below which the bias of the estimated covariances is noticeable.
IMAGES_PER_FEATURE = 10
NUM_SUBSETS, LARGEST_SUBSET = 100, 1000  # of KID
NUM_NEIGHBOURS = 3
PART = 256  # rows at a time


@dataclass(frozen=True)
class Comparison:
    r"""How far generated images are from real ones.

    Precision is the share of generated images within the region of the real ones: the union of balls around their
    features, each as wide as the distance to its third neighbour. Recall is the same with both sets exchanged.

    .. math:: \text{precision} = \frac{1}{M} \left|\{y : \exists x\ \|y - x\| \le r_3(x)\}\right|

    Args:
        fid: Fréchet distance of Gaussians fitted to the features; too large for few images.
        kid: Squared maximum mean discrepancy for the kernel :math:`(x^\top y / F + 1)^3`, the mean over random subsets.
            It is unbiased, and therefore sometimes negative.
        kid_std: Standard deviation over the subsets: the uncertainty of a single subset's value, not of the mean.
        precision: How real generated images look.
        recall: How much of the real images is covered.
    References:
        FID: Heusel et al. 2017, arXiv:1706.08500; KID: Bińkowski et al. 2018, arXiv:1801.01401; precision and recall:
        Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """

    fid: float
    kid: float
    kid_std: float
    precision: float
    recall: float


def compare(real: Tensor, drawn: Tensor, seed: int = 0) -> Comparison:
    """Compare features of real and of generated images.

    Args:
        real: (N, F).
        drawn: (M, F), from the same extractor.
        seed: Seed of KID's choice of subsets; a subset has at most half of each set, since otherwise the subsets would
            hardly differ.
    Raises:
        ValueError: If a set has fewer than 4 images, or a value is not finite.
    Warns:
        UserWarning: If FID is too large because there are few images.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    count, width = min(len(real), len(drawn)), real.shape[1]
    if count <= NUM_NEIGHBOURS:
        raise ValueError(f"got features of {count} images; expected at least {NUM_NEIGHBOURS + 1}")
    if not (real.isfinite().all() and drawn.isfinite().all()):
        raise ValueError("features are not finite; the extractor does not suit the images")
    if count < IMAGES_PER_FEATURE * width:
        warnings.warn(
            f"FID of {count} images with {width} features is biased upwards; compare it only with FIDs of as many, "
            f"or use {IMAGES_PER_FEATURE * width} or more",
            stacklevel=2,
        )
    real, drawn = real.double(), drawn.double()
    given = nn.Identity()  # the features are known already
    given.register_buffer("num_features", torch.tensor(width))
    with torch.random.fork_rng([]), warnings.catch_warnings(action="ignore"):  # of its buffer
        torch.manual_seed(seed)
        fid = _distance(FrechetInceptionDistance(given), real, drawn)
        size = min(LARGEST_SUBSET, count // 2)
        kid, kid_std = _distance(KernelInceptionDistance(given, NUM_SUBSETS, size), real, drawn)
    precision, recall = _share_inside(drawn, real), _share_inside(real, drawn)
    return Comparison(float(fid), float(kid), float(kid_std), precision, recall)


def _distance(metric: Any, real: Tensor, drawn: Tensor) -> Any:
    metric.update(real, real=True)
    metric.update(drawn, real=False)
    return metric.compute()


def _share_inside(points: Tensor, centres: Tensor) -> float:
    """Return the share of points within the distance of a centre to its third neighbour."""
    rank = NUM_NEIGHBOURS + 1  # the nearest is the centre itself
    radii = torch.cat([torch.cdist(part, centres).kthvalue(rank).values for part in centres.split(PART)])
    inside = torch.cat([(torch.cdist(part, centres) <= radii).any(1) for part in points.split(PART)])
    return float(inside.double().mean())


def draw_samples(
    model: ImageModel,
    count: int,
    extract: FeatureExtractor,
    *,
    temperature: Temperature = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    turns: Sequence[Given] | None = None,
    batch_size: int = 64,
    num_kept: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the first of ``count`` sampled images, uint8 (n, C, H, W), and the features of all, (N, F).

    Args:
        model: The model; at temperature 1 and guidance 1, its own distribution is measured.
        count: Number of images; only the features of all are held in memory at once.
        temperature, guidance, seed, turns: As for :func:`~glow_app.pipeline.sample_batches`.
    """
    features: list[Tensor] = []
    kept: list[Tensor] = []
    drawn = sample_batches(model, count, temperature, seed, turns, batch_size, guidance)
    for _ in tracked(range(0, count, batch_size), -(-count // batch_size), "drawing"):
        part = torch.stack([image.cpu() for _, image in islice(drawn, batch_size)])
        kept.append(part[: max(0, num_kept - sum(map(len, kept)))])
        features.append(extract(part))
    return torch.cat(kept), torch.cat(features)


def turns_of(model: ImageModel, images: ImageSet, seed: int = 0, batch_size: int = 64) -> list[Given] | None:
    """Return what the model is given about each of these images, for samples to take in turn; None for nothing."""
    parts = [given for _, given, _ in observed_batches(model, images, batch_size, "reading", seed) if given is not None]
    return (model.vocabulary.format(torch.cat(parts)) or None) if parts else None


def compare_samples(
    data: EvaluationData, extract: FeatureExtractor, drawn: Tensor, seed: int = 0, batch_size: int = 64
) -> dict[str, Comparison]:
    """Compare features of samples, as "drawn", and of as many "training_images", if known, with held-out images.

    The training images show the score of a perfect model: that of other real images.

    Args:
        drawn: Features of the samples, (M, F).
        seed: As for :func:`compare`.
    """

    def features(images: ImageSet) -> Tensor:
        return torch.cat([extract(part) for part, _ in batches(images, batch_size, "features")])

    real = features(data.held_out)
    compared = {"drawn": compare(real, drawn, seed)}
    if data.train is not None:
        others = data.train.subset(range(min(len(drawn), len(data.train))))
        compared["training_images"] = compare(real, features(others), seed)
    return compared
