"""How far two sets of features are from each other: the Fréchet and the kernel distance."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.evaluation.checks import check_features

__all__ = ["KernelDistance", "frechet_distance", "kernel_distance"]

# Images for each feature below which the bias of the estimated covariances shows.
IMAGES_A_FEATURE = 10


def frechet_distance(real: Tensor, drawn: Tensor) -> float:
    r"""Return the Fréchet distance of two sets of features, taken for Gaussian: FID, where they are Inception's.

    .. math:: \|\mu_1 - \mu_2\|^2 + \mathrm{tr}\left(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2}\right)

    In float64. The root is taken by eigenvalues of symmetric matrices, which stay real where a general matrix root of
    :math:`C_1 C_2` becomes complex: when there are fewer images than features. The estimate is too large by what the
    covariances of few images are too uneven; there is a warning below ten images for each feature.

    Args:
        real: (N, F).
        drawn: (M, F).
    Raises:
        ValueError: If there are fewer than 2 of either, their widths differ, or one is not finite.
    References:
        Heusel et al. 2017, arXiv:1706.08500.
    """
    check_features(real, drawn, 2)
    count, width = min(len(real), len(drawn)), real.shape[1]
    if count < IMAGES_A_FEATURE * width:
        warnings.warn(
            f"FID of {count} images by {width} features is too large; it compares only with one of as many images, and "
            f"{IMAGES_A_FEATURE * width} or more would do better",
            stacklevel=2,
        )
    real, drawn = real.double(), drawn.double()
    difference = real.mean(0) - drawn.mean(0)
    first, second = (torch.cov(one.T).reshape(width, width) for one in (real, drawn))  # torch: a scalar where F = 1
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    middle = root @ second @ root
    trace = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    return float(difference.square().sum() + first.trace() + second.trace() - 2 * trace)


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance over random subsets.

    Args:
        mean: Over the subsets.
        std: Over the subsets: how uncertain the value of one subset is, and not the mean.
        num_subsets: How many.
        subset_size: Images of each set in one.
    """

    mean: float
    std: float
    num_subsets: int
    subset_size: int


def kernel_distance(
    real: Tensor, drawn: Tensor, seed: int = 0, num_subsets: int = 100, largest_subset: int = 1000
) -> KernelDistance:
    r"""Return the squared maximum mean discrepancy of two sets of features: KID, where they are Inception's.

    .. math::
        \frac{1}{m(m-1)} \sum_{i \ne j} \left(k(x_i, x_j) + k(y_i, y_j)\right) - \frac{2}{m^2} \sum_{i, j} k(x_i, y_j),
        \qquad k(x, y) = \left(x^\top y / F + 1\right)^3

    Unbiased for any number of images, and so at times below 0. A subset has at most half of either set, or all subsets
    would be the same.

    Args:
        real: (N, F).
        drawn: (M, F).
        seed: Of the choice of subsets.
        num_subsets: How many.
        largest_subset: Images of each set in one subset, at most.
    Raises:
        ValueError: If there are fewer than 4 of either, their widths differ, or one is not finite.
    References:
        Bińkowski et al. 2018, arXiv:1801.01401.
    """
    check_features(real, drawn, 4)
    size = min(largest_subset, min(len(real), len(drawn)) // 2)
    generator = torch.Generator().manual_seed(seed)

    def subset(features: Tensor) -> Tensor:
        return features[torch.randperm(len(features), generator=generator)[:size]].double()

    found = torch.tensor([_discrepancy(subset(real), subset(drawn)) for _ in range(num_subsets)], dtype=torch.float64)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)), num_subsets, size)


def _discrepancy(x: Tensor, y: Tensor) -> float:
    size, width = x.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / width + 1) ** 3

    inside = kernel(x, x) + kernel(y, y)
    within = (inside.sum() - inside.trace()) / (size * (size - 1))
    return float(within - 2 * kernel(x, y).mean())
