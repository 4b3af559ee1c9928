"""Agreement with nflows, whose weights are transplanted: an independent implementation of the same mathematics."""

import math
from typing import Any

import pytest
import torch
from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform
from nflows.transforms.made import MADE as TheirMADE
from registry import perturb
from torch import nn

from glow_app.bijections import MaskedAutoregressive, SplineMap
from glow_app.nn import MADE, MaskedLinear

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
def test_the_network(residual: bool) -> None:
    theirs = TheirMADE(FEATURES, HIDDEN, output_multiplier=3, num_blocks=2, use_residual_blocks=residual).double()
    if residual:  # they leave the last rectifier out
        theirs.final_layer = nn.Sequential(nn.ReLU(), theirs.final_layer)
    perturb(theirs, size=0.5)
    ours = MADE(FEATURES, HIDDEN, 3, num_blocks=2, residual=residual).double()
    transplant(theirs, ours)
    x = torch.randn(50, FEATURES, dtype=torch.float64)
    torch.testing.assert_close(ours(x).flatten(1), theirs(x), rtol=0, atol=1e-10)


def test_the_spline_flow_both_ways() -> None:
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
