"""A density integrates to one, which no test of consistency alone can show; of priors see flows/test_glow_priors.py."""

import math
from collections.abc import Callable

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
    mixing = [PixelwiseChain(ActNorm(2), InvertibleConv1x1(2)) for _ in range(3)]
    couplings = [AffineCoupling(2, ConvConditioner(1, 2, 8)), AffineCoupling(2, GatedResidualConditioner(1, 2, 8))]
    return Chain(mixing[0], couplings[0], mixing[1], couplings[1], mixing[2], DiagonalAffine(2))


def _additive_and_inverse() -> Bijection:
    mixing = [PixelwiseChain(InvertibleConv1x1(2), ActNorm(2)) for _ in range(2)]
    couplings = [AdditiveCoupling(2, ConvConditioner(1, 1, 8)), Inverse(AffineCoupling(2, ConvConditioner(1, 2, 8)))]
    return Chain(mixing[0], couplings[0], mixing[1], couplings[1], DiagonalAffine(2))


@pytest.mark.parametrize("constructor", [_affine, _additive_and_inverse])
def test_a_density_in_the_plane_integrates_to_one(constructor: Callable[[], Bijection]) -> None:
    torch.manual_seed(0)
    flow = perturb(constructor().double(), seed=1)
    _fit_to_a_banana(flow)
    assert math.isclose(_integral(flow), 1.0, abs_tol=1e-3)


def _fit_to_a_banana(flow: Bijection) -> None:
    # Fitted to something, its mass lies where a grid can be fine enough.
    first = torch.randn(256, dtype=torch.float64)
    banana = torch.stack([first, first.square() + 0.5 * torch.randn_like(first)], dim=1)[:, :, None, None]
    flow.initialize(banana)
    perturb(flow, seed=2, size=0.05)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        z, log_det = flow(banana)
        (-(standard_normal_log_density([z]) + log_det).mean()).backward()
        optimizer.step()


@torch.no_grad()
def _integral(flow: Bijection) -> float:
    # The grid lies along the principal axes of the samples, and reaches farther than any of them.
    latents = torch.randn(5_000, *flow(torch.zeros(1, 2, 1, 1).double())[0].shape[1:], dtype=torch.float64)
    samples = flow.inverse(latents)[0].flatten(1)
    centre, axes = samples.mean(0), torch.linalg.eigh(samples.T.cov()).eigenvectors
    half_sides = 1.5 * ((samples - centre) @ axes).abs().max(0).values
    num = 200
    ticks = 2 * (torch.arange(num, dtype=torch.float64) + 0.5) / num - 1
    points = centre + (torch.cartesian_prod(ticks, ticks) * half_sides) @ axes.T
    total = torch.zeros((), dtype=torch.float64)
    for chunk in points.reshape(-1, 2, 1, 1).split(200_000):
        z, log_det = flow(chunk)
        total += (standard_normal_log_density([z]) + log_det).exp().sum()
    return (total * (2 * half_sides / num).prod()).item()
