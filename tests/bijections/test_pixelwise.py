import torch
from registry import perturb

from glow_app.bijections import ActNorm, Chain, InvertibleConv1x1, PixelwiseChain


def test_equals_the_chain_of_the_same_bijections() -> None:
    fused = PixelwiseChain(InvertibleConv1x1(3), ActNorm(3), InvertibleConv1x1(3), ActNorm(3)).double()
    chain = Chain(InvertibleConv1x1(3), ActNorm(3), InvertibleConv1x1(3), ActNorm(3)).double()
    chain.load_state_dict(fused.state_dict())
    x = torch.randn(8, 3, 2, 4, dtype=torch.float64)
    pairs = [(fused.initialize(3 * x + 1), chain.initialize(3 * x + 1))]
    perturb(fused)
    chain.load_state_dict(fused.state_dict())
    for found, expected in [*pairs, (fused(x), chain(x)), (fused.inverse(x), chain.inverse(x))]:
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
