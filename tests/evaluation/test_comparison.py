import math
import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from glow_app.evaluation import frechet_distance, kernel_distance, precision_recall


def gaussian(num: int, mean: list[float], scales: list[float], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num, len(mean), generator=generator, dtype=torch.float64)
    return noise * torch.tensor(scales, dtype=torch.float64) + torch.tensor(mean, dtype=torch.float64)


class Flat(nn.Module):
    """Features for torchmetrics: the pixels themselves."""

    num_features = 12

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double() / 255


@pytest.fixture
def sets() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(12, 12, generator=generator, dtype=torch.float64) / 3
    real = torch.randn(300, 12, generator=generator, dtype=torch.float64) @ mixing
    drawn = torch.rand(200, 12, generator=generator, dtype=torch.float64) * 2
    return real, drawn


def test_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    real = gaussian(200_000, [0.0, 1.0, -2.0], [1.0, 2.0, 0.5], 0)
    drawn = gaussian(200_000, [0.5, 1.0, 0.0], [2.0, 0.5, 0.5], 1)
    expected = 0.5**2 + 2.0**2 + (1 - 2) ** 2 + (2 - 0.5) ** 2
    assert frechet_distance(real, drawn) == pytest.approx(expected, rel=0.01)
    assert frechet_distance(drawn, real) == pytest.approx(frechet_distance(real, drawn), rel=1e-9)


def test_frechet_distance_is_the_definition_with_a_general_matrix_root(sets: tuple[Tensor, Tensor]) -> None:
    real, drawn = (one.numpy() for one in sets)
    first, second = np.cov(real.T), np.cov(drawn.T)
    root = sqrtm(first @ second).real
    difference = ((real.mean(0) - drawn.mean(0)) ** 2).sum()
    expected = difference + np.trace(first) + np.trace(second) - 2 * np.trace(root)
    assert frechet_distance(*sets) == pytest.approx(expected, rel=1e-9)


def test_equal_sets_are_at_distance_0_also_where_covariances_are_singular() -> None:
    few = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="FID of 20 images by 50 features is too large.* 500 or more would be better"):
        assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-5)
    # The line of a mean that moved is the whole distance.
    with pytest.warns(UserWarning, match="too large"):
        assert frechet_distance(few, few + 2) == pytest.approx(4 * 50, abs=1e-3)


def test_one_feature_needs_no_warning() -> None:
    with warnings.catch_warnings(action="error"):
        narrow, wide = torch.arange(10.0)[:, None], 3 * torch.arange(10.0)[:, None]
        variance = float(torch.arange(10.0).var())
        assert frechet_distance(narrow, wide) == pytest.approx(9.0**2 + 4 * variance)


def test_kernel_distance_is_the_double_sum(sets: tuple[Tensor, Tensor]) -> None:
    x, y = (one[:8].numpy() for one in sets)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    # Subsets are half of the sets, and all of one half are here the same image: any subset is known.
    real, drawn = np.repeat(x[:1], 8, 0), np.repeat(y[:1], 8, 0)
    found = kernel_distance(torch.tensor(real), torch.tensor(drawn), num_subsets=3)
    expected = kernel(x[0], x[0]) + kernel(y[0], y[0]) - 2 * kernel(x[0], y[0])
    assert (found.mean, found.std) == (pytest.approx(expected), pytest.approx(0.0, abs=1e-12))
    assert (found.num_subsets, found.subset_size) == (3, 4)


def test_kernel_distance_is_unbiased(sets: tuple[Tensor, Tensor]) -> None:
    first, second = (gaussian(20_000, [0.0] * 4, [1.0] * 4, seed) for seed in (0, 1))
    # With the diagonals of the biased estimate, ten equally distributed images of each would be 6 / 10 apart.
    small = kernel_distance(first, second, num_subsets=2000, largest_subset=10)
    assert small.subset_size == 10
    assert abs(small.mean) < 4 * small.std / math.sqrt(2000) < 0.1
    assert kernel_distance(*sets).mean > 1
    assert small == kernel_distance(first, second, num_subsets=2000, largest_subset=10)
    assert small != kernel_distance(first, second, seed=1, num_subsets=2000, largest_subset=10)


@pytest.mark.filterwarnings("ignore:Metric .* will save all extracted features", "ignore:FID of")
def test_both_are_those_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    generator = torch.Generator().manual_seed(2)
    real = torch.randint(0, 256, (60, 3, 2, 2), generator=generator, dtype=torch.uint8)
    drawn = torch.randint(0, 200, (50, 3, 2, 2), generator=generator, dtype=torch.uint8)
    fid = FrechetInceptionDistance(Flat())
    kid = KernelInceptionDistance(Flat(), subsets=400, subset_size=25)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(drawn, real=False)
    assert frechet_distance(Flat()(real), Flat()(drawn)) == pytest.approx(float(fid.compute()), rel=1e-4)
    torch.manual_seed(0)
    mean, std = kid.compute()
    found = kernel_distance(Flat()(real), Flat()(drawn), num_subsets=400)
    assert found.subset_size == 25
    # Other subsets; each mean is uncertain by its spread over the root of 400.
    assert found.mean == pytest.approx(float(mean), abs=5 * float(std) / 20)
    assert found.std == pytest.approx(float(std), rel=0.2)


def test_what_does_not_compare_is_refused(sets: tuple[Tensor, Tensor]) -> None:
    real, drawn = sets
    for compare in (frechet_distance, kernel_distance):
        with pytest.raises(ValueError, match=r"real images are \(1, 12\); expected \(N, F\) with at least"):
            compare(real[:1], drawn)
        with pytest.raises(ValueError, match="12 and 3 wide; expected one extractor"):
            compare(real, drawn[:, :3])
        with pytest.raises(ValueError, match="drawn images are not finite"):
            compare(real, drawn * torch.nan)


def points(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed)) + shift


def test_precision_and_recall_are_the_definition() -> None:
    real, drawn = points(60, 2), points(40, 3, 0.7)

    def share(inside: Tensor, centres: Tensor) -> float:
        own = (centres[:, None] - centres[None]).norm(dim=-1)
        radii = own.sort(dim=1).values[:, 3]  # the image itself comes first
        return float(((inside[:, None] - centres[None]).norm(dim=-1) <= radii).any(1).float().mean())

    found = precision_recall(real, drawn)
    assert (found.precision, found.recall) == (pytest.approx(share(drawn, real)), pytest.approx(share(real, drawn)))
    assert 0.2 < found.recall < found.precision < 1
    assert found.num_neighbours == 3


def test_precision_and_recall_of_the_cases_that_they_tell_apart() -> None:
    real = points(300, 4)
    same = precision_recall(real, real)
    assert (same.precision, same.recall) == (1.0, 1.0)
    far = precision_recall(real, points(300, 5, 50.0))
    assert (far.precision, far.recall) == (0.0, 0.0)
    # One mode of the data alone: all that is drawn looks real, and little of what is real is drawn.
    collapsed = precision_recall(real, real[:1] + 1e-3 * points(300, 6))
    assert collapsed.precision == 1.0
    assert collapsed.recall < 0.05
    with pytest.raises(ValueError, match="at least 4 images"):
        precision_recall(real[:3], real)
