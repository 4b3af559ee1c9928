"""A density integrates to one, which no test of consistency alone can show."""

import math

import pytest
import torch
from registry import perturb

from glow_app.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Bijection,
    Chain,
    DiagonalAffine,
    Inverse,
    InvertibleConv1x1,
    PixelwiseChain,
)
from glow_app.likelihood import standard_normal_log_density
from glow_app.nn import ConvConditioner, GatedResidualConditioner


def _affine() -> Bijection:
    mixing = [PixelwiseChain(ActNorm(2), InvertibleConv1x1(2)) for _ in range(2)]
    couplings = [AffineCoupling(2, ConvConditioner(1, 2, 8), 0.4), AffineCoupling(2, GatedResidualConditioner(1, 2, 8), 0.4)]
    return Chain(mixing[0], couplings[0], mixing[1], couplings[1], DiagonalAffine((2, 1, 1)))


def _additive_and_inverse() -> Bijection:
    mixing = [PixelwiseChain(InvertibleConv1x1(2), ActNorm(2)) for _ in range(2)]
    couplings = [AdditiveCoupling(2, ConvConditioner(1, 1, 8)), Inverse(AffineCoupling(2, ConvConditioner(1, 2, 8)))]
    return Chain(mixing[0], couplings[0], mixing[1], couplings[1], DiagonalAffine((2, 1, 1)))


@pytest.mark.parametrize("constructor", [_affine, _additive_and_inverse])
@torch.no_grad()
def test_a_density_in_the_plane_integrates_to_one(constructor: type[Bijection]) -> None:
    torch.manual_seed(0)
    flow = perturb(constructor().double(), seed=1)
    flow.initialize(torch.randn(256, 2, 1, 1, dtype=torch.float64))
    perturb(flow, seed=2, size=0.1)

    samples = flow.inverse(torch.randn(20_000, 2, 1, 1, dtype=torch.float64))[0].flatten(1)
    centre = samples.mean(0)
    half_sides = 2.0 * (samples - centre).abs().max(0).values
    num = 1200
    axes = [c + h * (2 * (torch.arange(num, dtype=torch.float64) + 0.5) / num - 1) for c, h in zip(centre, half_sides, strict=True)]
    points = torch.cartesian_prod(*axes).reshape(-1, 2, 1, 1)
    total = torch.zeros((), dtype=torch.float64)
    for chunk in points.split(200_000):
        z, log_det = flow(chunk)
        total += (standard_normal_log_density([z]) + log_det).exp().sum()
    integral = total * (2 * half_sides / num).prod()
    assert math.isclose(integral.item(), 1.0, abs_tol=1e-3)
