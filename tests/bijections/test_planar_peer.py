"""Agreement with normflows, whose weights are transplanted: an independent implementation of the same mathematics."""

import math
from typing import Any

import pytest
import torch
from normflows.flows import Planar as TheirPlanar
from registry import perturb
from torch import Tensor

from glow_app.bijections import Bijection, Chain, Planar


def transplanted(theirs: Any) -> Planar:
    """Return ours with the same map; they bend w.u by softplus(a) - 1, we by softplus(a + c) - 1, which is 0 at 0."""
    w, u = theirs.w.detach()[0], theirs.u.detach()[0]
    ours = Planar(len(w), min_slope=0.0).to(w.dtype)
    ours.w.data.copy_(w)
    ours.u.data.copy_(u - math.log(math.e - 1) * w / w.square().sum())
    ours.b.data.copy_(theirs.b.detach())
    return ours


def assert_same(ours: Bijection, theirs: list[Any], x: Tensor) -> None:
    expected, expected_log_det = x, torch.zeros(len(x), dtype=x.dtype)
    for flow in theirs:
        expected, term = flow(expected)
        expected_log_det = expected_log_det + term
    z, log_det = ours(x)
    assert (z - x).abs().max() > 0.05, "not the identity"
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det, expected_log_det, rtol=0, atol=1e-10)
    # They have no inverse here.
    torch.testing.assert_close(ours.inverse(expected)[0], x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("num_features", [1, 2, 6])
@pytest.mark.parametrize("depth", [1, 4])
def test_planar_both_ways(num_features: int, depth: int) -> None:
    torch.manual_seed(0)
    theirs = [perturb(TheirPlanar((num_features,), act="tanh").double(), seed, 0.5) for seed in range(depth)]
    x = 2 * torch.randn(200, num_features, dtype=torch.float64)
    assert_same(Chain(*map(transplanted, theirs)), theirs, x)
