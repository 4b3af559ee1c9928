import math

import pytest
import torch
from torch import Tensor

from glow_app.evaluation import compare


def points(num: int, seed: int, mean: float = 0.0, scale: float = 1.0, width: int = 5) -> Tensor:
    return mean + scale * torch.randn(num, width, generator=torch.Generator().manual_seed(seed))


def test_fid_of_gaussians_is_the_closed_form() -> None:
    found = compare(points(600, 0, 1.0, 2.0), points(600, 1, 0.5, 0.5)).fid
    assert found == pytest.approx(5 * (0.5**2 + (2.0 - 0.5) ** 2), rel=0.1)


def test_kid_is_unbiased_and_a_function_of_the_seed() -> None:
    real, drawn = points(100, 0), points(100, 1)
    state = torch.random.get_rng_state()
    one, same, other = (compare(real, drawn, seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert one == same
    assert one.kid != other.kid
    assert abs(one.kid) < 4 * one.kid_std / math.sqrt(2)  # unbiased: of the same distribution
    assert compare(real, points(100, 2, 2.0)).kid > 1


def test_precision_and_recall_are_the_definition() -> None:
    real, drawn = points(60, 2), points(50, 3, 0.7)

    def share(inside: Tensor, centres: Tensor) -> float:
        own = (centres[:, None] - centres[None]).norm(dim=-1)
        radii = own.sort(dim=1).values[:, 3]  # the image itself comes first
        return float(((inside[:, None] - centres[None]).norm(dim=-1) <= radii).any(1).float().mean())

    found = compare(real, drawn)
    assert (found.precision, found.recall) == (pytest.approx(share(drawn, real)), pytest.approx(share(real, drawn)))
    assert 0.2 < found.recall < found.precision < 1
    # A single mode of the data: everything drawn looks real, and little of what is real is drawn.
    collapsed = compare(real, real[:1] + 1e-3 * points(60, 6))
    assert collapsed.precision == 1.0
    assert collapsed.recall < 0.1


def test_features_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match="features of 3 images; expected at least 4"):
        compare(points(3, 0), points(9, 1))
    with pytest.raises(ValueError, match="not finite"):
        compare(points(60, 0), points(60, 1) * torch.nan)
    with pytest.warns(UserWarning, match=r"FID of 20 images with 5 features is biased.* 50 or more"):
        compare(points(20, 0), points(60, 1))
