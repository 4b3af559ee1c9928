import torch
from registry import perturb

from glow_app.bijections import ActNorm, Chain, Inverse, InvertibleConv1x1, PixelwiseChain, Squeeze


def test_a_chain_initialises_each_on_the_output_of_those_before() -> None:
    chain = Chain(ActNorm(2), Squeeze(), ActNorm(8))
    x = 3 + torch.randn(16, 2, 4, 4) * torch.linspace(1, 2, 4)
    z, _ = chain.initialize(x)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(8), rtol=0, atol=1e-4)
    assert torch.equal(z, chain(x)[0])
    z, log_det = Chain(Inverse(Squeeze()), ActNorm(1)).initialize(torch.randn(8, 4, 1, 1))
    assert z.shape == (8, 1, 2, 2)
    assert log_det.shape == (8,)


def test_a_pixelwise_chain_equals_the_chain_of_its_bijections() -> None:
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


def test_squeeze_orders_the_channels() -> None:
    x = torch.randn(2, 3, 4, 6)
    z, log_det = Squeeze()(x)
    for c in range(3):
        for dy in (0, 1):
            for dx in (0, 1):
                assert torch.equal(z[:, c * 4 + dy * 2 + dx], x[:, c, dy::2, dx::2])
    assert torch.equal(log_det, torch.zeros(2))
