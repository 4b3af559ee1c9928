"""Agreement with an independent implementation of the same mathematics, nflows, with the same weights."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from nflows.transforms import MaskedPiecewiseRationalQuadraticAutoregressiveTransform
from registry import perturb

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
        for number in range(2):
            copy(block.linear_layers[number], our_block[number], order, order)  # type: ignore[index]
    copy(theirs.final_layer, ours.last, every, order)


def test_the_spline_flow_is_that_of_nflows_both_ways() -> None:
    theirs = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        FEATURES, HIDDEN, num_bins=BINS, tails="linear", tail_bound=3.0, num_blocks=2, use_residual_blocks=True
    ).double()
    perturb(theirs, size=0.5)
    ours = MaskedAutoregressive(FEATURES, HIDDEN, elementwise=SplineMap(BINS, 3.0), num_blocks=2).double()
    transplant(theirs.autoregressive_net, ours.network)
    # Theirs leaves out the activation after residual blocks.
    theirs.autoregressive_net.final_layer.register_forward_pre_hook(lambda _, inputs: F.relu(inputs[0]))
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
