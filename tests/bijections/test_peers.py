"""Agreement with independent implementations of the same mathematics: nflows, normflows and zuko.

Weights are transplanted; the solver of zuko runs on our network.
"""

import math
from typing import Any

import pytest
import torch
from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform
from nflows.transforms.made import MADE as TheirMADE
from normflows.flows import Planar as TheirPlanar
from registry import perturb
from torch import nn

from glow_app.bijections import Chain, ContinuousFlow, MaskedAutoregressive, Planar, SplineMap
from glow_app.nn import MADE, MaskedLinear, MLPVelocity

FEATURES, HIDDEN, BINS = 4, 12, 5


def transplant(theirs: Any, ours: MADE) -> None:
    """Copy the weights; their hidden degrees take turns, ours are sorted."""
    order = theirs.initial_layer.degrees.argsort(stable=True)
    assert torch.equal(theirs.initial_layer.degrees[order], ours.first.outputs.of_units())

    def copy(source: Any, target: MaskedLinear, rows: Any, columns: Any) -> None:
        target.weight.data.copy_(source.weight.data[rows][:, columns])
        target.bias.data.copy_(source.bias.data[rows])

    every = slice(None)
    copy(theirs.initial_layer, ours.first, order, every)
    for block, our_block in zip(theirs.blocks, ours.blocks, strict=True):
        layers = block.linear_layers if ours.residual else [block.linear]
        for layer, our_layer in zip(layers, our_block, strict=True):  # type: ignore[call-overload]
            copy(layer, our_layer, order, order)
    final = theirs.final_layer
    copy(final[1] if isinstance(final, nn.Sequential) else final, ours.last, every, order)


@pytest.mark.parametrize("residual", [True, False])
def test_the_masked_network_is_that_of_nflows(residual: bool) -> None:
    theirs = TheirMADE(FEATURES, HIDDEN, output_multiplier=3, num_blocks=2, use_residual_blocks=residual).double()
    if residual:  # they leave the last rectifier out
        theirs.final_layer = nn.Sequential(nn.ReLU(), theirs.final_layer)
    perturb(theirs, size=0.5)
    ours = MADE(FEATURES, HIDDEN, 3, num_blocks=2, residual=residual).double()
    transplant(theirs, ours)
    x = torch.randn(50, FEATURES, dtype=torch.float64)
    torch.testing.assert_close(ours(x).flatten(1), theirs(x), rtol=0, atol=1e-10)


def test_the_spline_flow_is_that_of_nflows_both_ways() -> None:
    theirs = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        FEATURES, HIDDEN, num_bins=BINS, tails="linear", tail_bound=3.0, num_blocks=2, use_residual_blocks=False
    ).double()
    perturb(theirs, size=0.5)
    ours = MaskedAutoregressive(
        FEATURES, HIDDEN, elementwise=SplineMap(BINS, 3.0), num_blocks=2, residual=False
    ).double()
    transplant(theirs.autoregressive_net, ours.network)
    # Zero parameters are slope 1 here, and slope softplus(0) there.
    shift = torch.zeros(3 * BINS - 1, dtype=torch.float64)
    shift[2 * BINS :] = math.log(math.expm1(1 - 1e-3))
    ours.network.last.bias.data -= shift.repeat(FEATURES)

    x = 2 * torch.randn(200, FEATURES, dtype=torch.float64)
    z, log_det = ours(x)
    their_z, their_log_det = theirs(x)
    assert (z - x).abs().max() > 0.5
    torch.testing.assert_close(z, their_z, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_det, their_log_det, rtol=0, atol=1e-8)
    for found, expected in zip(ours.inverse(x), theirs.inverse(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def transplanted_planar(theirs: Any) -> Planar:
    """Return ours with the same map; they bend w.u by softplus(a) - 1, we by softplus(a + c) - 1, which is 0 at 0."""
    w, u = theirs.w.detach()[0], theirs.u.detach()[0]
    ours = Planar(len(w), min_slope=0.0).to(w.dtype)
    ours.w.data.copy_(w)
    ours.u.data.copy_(u - math.log(math.e - 1) * w / w.square().sum())
    ours.b.data.copy_(theirs.b.detach())
    return ours


@pytest.mark.parametrize("num_features", [1, 2, 6])
@pytest.mark.parametrize("depth", [1, 4])
def test_planar_is_that_of_normflows_both_ways(num_features: int, depth: int) -> None:
    torch.manual_seed(0)
    theirs = [perturb(TheirPlanar((num_features,), act="tanh").double(), seed, 0.5) for seed in range(depth)]
    x = 2 * torch.randn(200, num_features, dtype=torch.float64)
    ours, expected, expected_log_det = Chain(*map(transplanted_planar, theirs)), x, torch.zeros(200, dtype=x.dtype)
    for flow in theirs:
        expected, term = flow(expected)
        expected_log_det = expected_log_det + term
    z, log_det = ours(x)
    assert (z - x).abs().max() > 0.05, "not the identity"
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(log_det, expected_log_det, rtol=0, atol=1e-10)
    # They have no inverse here.
    torch.testing.assert_close(ours.inverse(expected)[0], x, rtol=0, atol=1e-10)


@torch.no_grad()
def test_our_network_under_the_solver_of_zuko() -> None:
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    velocity = perturb(MLPVelocity(3, 16, context_features=2).double(), size=0.6)
    flow = ContinuousFlow(velocity, eval_atol=1e-9, eval_rtol=1e-9).eval()
    x, context = torch.randn(6, 3, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    theirs = zuko.transforms.FreeFormJacobianTransform(
        lambda t, x: velocity(t, x, context), atol=1e-9, rtol=1e-9, exact=True
    )
    for ours, expected in (
        (flow(x, context), theirs.call_and_ladj(x)),
        (flow.inverse(x, context), theirs.inv.call_and_ladj(x)),
    ):
        assert (ours[0] - x).abs().max() > 0.1
        assert ours[1].abs().max() > 0.1
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
