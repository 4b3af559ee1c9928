import torch
from registry import REGISTRY

from glow_app.bijections import ActNorm, Chain, Inverse, Squeeze


def test_a_chain_is_its_bijections_one_after_another() -> None:
    chain, x, _ = REGISTRY["Chain"].build()
    expected, total = x, torch.zeros(len(x), dtype=x.dtype)
    for bijection in chain.bijections:  # type: ignore[union-attr]
        expected, term = bijection(expected)
        total = total + term
    z, log_det = chain(x)
    assert torch.equal(z, expected)
    assert torch.equal(log_det, total)


def test_inverse_swaps_the_directions() -> None:
    bijection, x, context = REGISTRY["Glow step, context"].build()
    inverse = Inverse(bijection)
    assert all(torch.equal(a, b) for a, b in zip(inverse(x, context), bijection.inverse(x, context), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(inverse.inverse(x, context), bijection(x, context), strict=True))


def test_a_chain_initialises_each_on_the_output_of_those_before() -> None:
    chain = Chain(ActNorm(2), Squeeze(), ActNorm(8))
    x = 3 + torch.randn(16, 2, 4, 4) * torch.linspace(1, 2, 4)
    z, _ = chain.initialize(x)
    torch.testing.assert_close(z.var((0, 2, 3), correction=0), torch.ones(8), rtol=0, atol=1e-4)
    assert torch.equal(z, chain(x)[0])
    z, log_det = Chain(Inverse(Squeeze()), ActNorm(1)).initialize(torch.randn(8, 4, 1, 1))
    assert z.shape == (8, 1, 2, 2)
    assert log_det.shape == (8,)
