import math

import pytest
import torch
from registry import perturb

from glow_app.bijections import DiagonalAffine
from glow_app.likelihood import standard_normal_log_density
from glow_app.priors import GaussianPrior


def test_diagonal_affine_is_the_density_of_a_gaussian() -> None:
    affine = perturb(DiagonalAffine(3).double())
    x = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    z, log_det = affine(x)
    expected = torch.distributions.Normal(affine.mean, affine.log_scale.exp()).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_density([z]) + log_det, expected)


def test_all_start_as_the_identity() -> None:
    x, context = torch.randn(5, 3, 2, 4), torch.randn(5, 2, 2, 4)
    gaussian = GaussianPrior((3, 2, 4), 2)
    for z, log_det in (DiagonalAffine(3)(x), DiagonalAffine(3, 2)(x, context), gaussian(x, context)):
        assert torch.equal(z, x)
        assert torch.equal(log_det, torch.zeros(5))


@pytest.mark.parametrize("raw", [-1e4, 0.1, 1e4])
def test_the_log_scale_is_bounded_with_finite_gradients(raw: float) -> None:
    affine = DiagonalAffine(2, 3, kernel_size=1)
    with torch.no_grad():
        affine.projection.bias[2:] = raw
    x, context = torch.ones(4, 2, 1, 1), torch.randn(4, 3)
    z, log_det = affine(x, context)
    torch.testing.assert_close(log_det, torch.full((4,), -2 * 4 * math.tanh(raw / 4)))
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in affine.parameters())
