"""Compare features of generated and real images: FID, KID, precision and recall."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.evaluation.neighbours import Neighbours

# Images per feature below which the bias of the estimated covariances is noticeable.
IMAGES_PER_FEATURE = 10
PART = 1024  # rows at a time


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    r"""Return the Fréchet distance of two sets of features, assumed Gaussian: FID, if they are Inception features.

    .. math:: \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\left(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2}\right)

    Computed in float64 from eigenvalues of symmetric matrices, which stay real where a general matrix root of
    :math:`C_1 C_2` becomes complex: with fewer images than features. With few images the estimate is too large; a
    warning says so below ten images per feature.

    Args:
        real: (N, F).
        drawn: (M, F).
    Raises:
        ValueError: If a set has fewer than 2 images, the widths differ, or a value is not finite.
    References:
        Heusel et al. 2017, arXiv:1706.08500.
    """
    _check_features(real, drawn, 2)
    count, width = min(len(real), len(drawn)), real.shape[1]
    if count < IMAGES_PER_FEATURE * width:
        warnings.warn(
            f"FID of {count} images by {width} features is too large; compare it only with FIDs of as many images; "
            f"{IMAGES_PER_FEATURE * width} or more would be better",
            stacklevel=2,
        )
    real, drawn = real.double(), drawn.double()
    difference = real.mean(0) - drawn.mean(0)
    # reshape: torch returns a scalar if F = 1.
    first, second = (torch.cov(features.T).reshape(width, width) for features in (real, drawn))
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    middle = root @ second @ root
    trace = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    return float(difference.square().sum() + first.trace() + second.trace() - 2 * trace)


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance over random subsets.

    Args:
        mean: Mean over the subsets.
        std: Standard deviation over the subsets: the uncertainty of a single subset's value, not of the mean.
        num_subsets: Number of subsets.
        subset_size: Images of each set in a subset.
    """

    mean: float
    std: float
    num_subsets: int
    subset_size: int


def kernel_distance(
    real: Tensor, drawn: Tensor, seed: int = 0, num_subsets: int = 100, largest_subset: int = 1000
) -> KernelDistance:
    r"""Return the squared maximum mean discrepancy of two sets of features: KID, if they are Inception features.

    .. math::
        \frac{1}{m(m-1)} \sum_{i \ne j} \left(k(x_i, x_j) + k(y_i, y_j)\right) - \frac{2}{m^2} \sum_{i, j} k(x_i, y_j),
        \qquad k(x, y) = \left(x^\top y / F + 1\right)^3

    Unbiased for any number of images, and therefore sometimes negative. A subset has at most half of each set;
    otherwise the subsets would hardly differ.

    Args:
        real: (N, F).
        drawn: (M, F).
        seed: Seed of the choice of subsets.
        num_subsets: Number of subsets.
        largest_subset: Largest number of images of each set in a subset.
    Raises:
        ValueError: If a set has fewer than 4 images, the widths differ, or a value is not finite.
    References:
        Bińkowski et al. 2018, arXiv:1801.01401.
    """
    from torchmetrics.image.kid import poly_mmd

    _check_features(real, drawn, 4)
    size = min(largest_subset, min(len(real), len(drawn)) // 2)
    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size]].double()

    values = torch.stack([poly_mmd(subset(real), subset(drawn)) for _ in range(num_subsets)])
    return KernelDistance(float(values.mean()), float(values.std(correction=0)), num_subsets, size)


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall.

    Args:
        precision: Share of generated images inside the region of the real ones: how real they look.
        recall: Share of real images inside the region of the generated ones: how much of the data is covered.
        num_neighbours: The number k; the distance to the k-th neighbour is the radius around an image.
    """

    precision: float
    recall: float
    num_neighbours: int


def precision_recall(real: Tensor, drawn: Tensor, num_neighbours: int = 3) -> PrecisionRecall:
    r"""Return improved precision and recall.

    The region of a set is the union of balls around its features, each as wide as the distance to its k-th nearest
    neighbour within the set:

    .. math:: \text{precision} = \frac{1}{M} \left|\{y : \exists x\ \|y - x\| \le r_k(x)\}\right|

    and recall is the same with both sets exchanged. Both depend on the numbers of images, and are most meaningful for
    sets of equal size.

    Args:
        real: (N, F).
        drawn: (M, F).
        num_neighbours: The number k.
    Raises:
        ValueError: If a set has fewer than k + 1 images, the widths differ, or a value is not finite.
    References:
        Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    _check_features(real, drawn, num_neighbours + 1)
    precision, recall = (
        _share_inside(points, centres, _radii(centres, num_neighbours))
        for points, centres in ((drawn, real), (real, drawn))
    )
    return PrecisionRecall(precision, recall, num_neighbours)


@dataclass(frozen=True)
class Comparison:
    """Three comparisons of the same features.

    Args:
        fid: See :func:`frechet_distance`.
        kid: See :func:`kernel_distance`.
        precision_recall: See :func:`precision_recall`.
    """

    fid: float
    kid: KernelDistance
    precision_recall: PrecisionRecall


def compare(real: Tensor, drawn: Tensor, seed: int = 0) -> Comparison:
    """Compare features of real and of generated images.

    Args:
        real: (N, F).
        drawn: (M, F), from the same extractor.
        seed: Seed of KID's choice of subsets.
    Raises:
        ValueError: If a set has fewer than 4 images, the widths differ, or a value is not finite.
    """
    return Comparison(frechet_distance(real, drawn), kernel_distance(real, drawn, seed), precision_recall(real, drawn))


def _check_features(real: Tensor, drawn: Tensor, least: int) -> None:
    """Raise ValueError unless two sets of features can be compared and have at least ``least`` images each."""
    for features, noun in ((real, "real"), (drawn, "drawn")):
        if features.ndim != 2 or len(features) < least:
            shape = tuple(features.shape)
            raise ValueError(f"features of {noun} images are {shape}; expected (N, F) with at least {least} images")
        if not bool(features.isfinite().all()):
            raise ValueError(f"features of {noun} images are not finite; the extractor does not suit them")
    if real.shape[1] != drawn.shape[1]:
        raise ValueError(f"features are {real.shape[1]} and {drawn.shape[1]} wide; expected one extractor for both")


def _radii(features: Tensor, num_neighbours: int) -> Tensor:
    neighbours = Neighbours(features, num_neighbours + 1)  # the nearest is the image itself
    for part in features.split(PART):
        neighbours.update(part)
    return neighbours.distances[:, -1]


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    balls = list(zip(centres.double().split(PART), radii.split(PART), strict=True))
    inside = [
        torch.stack([(torch.cdist(part, centre) <= radius).any(dim=1) for centre, radius in balls]).any(dim=0)
        for part in points.double().split(PART)
    ]
    return float(torch.cat(inside).double().mean())
