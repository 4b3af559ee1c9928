import pytest
import torch
from registry import perturb

from glow_app.bijections import ActNorm, Chain, InvertibleConv1x1, PixelwiseChain


def test_equals_the_chain_of_the_same_bijections() -> None:
    torch.manual_seed(0)
    maps = (InvertibleConv1x1(3), ActNorm(3), InvertibleConv1x1(3), ActNorm(3))
    fused, chain = PixelwiseChain(*maps).double(), Chain(*maps).double()
    fused.initialize(torch.randn(8, 3, 2, 4, dtype=torch.float64))
    perturb(fused)
    x = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    for name in ("forward", "inverse"):
        for found, expected in zip(getattr(fused, name)(x), getattr(chain, name)(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_initialises_like_the_chain() -> None:
    torch.manual_seed(0)
    fused = PixelwiseChain(ActNorm(3), InvertibleConv1x1(3), ActNorm(3)).double()
    fresh = ActNorm(3), InvertibleConv1x1(3), ActNorm(3)
    chain = Chain(*fresh).double()
    chain.load_state_dict(fused.state_dict())
    x = torch.randn(8, 3, 2, 4, dtype=torch.float64)
    for found, expected in zip(fused.initialize(3 * x + 1), chain.initialize(3 * x + 1), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for name, value in fused.state_dict().items():
        torch.testing.assert_close(value, chain.state_dict()[name])


def test_different_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one number of channels, got \[3, 4\]"):
        PixelwiseChain(ActNorm(4), ActNorm(3))
    with pytest.raises(ValueError, match="one number of channels"):
        PixelwiseChain()
