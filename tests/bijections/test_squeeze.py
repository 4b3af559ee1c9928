import pytest
import torch
import torch.nn.functional as F

from glow_app.bijections import Squeeze


@pytest.mark.parametrize("shape", [(1, 2, 2), (3, 4, 6), (5, 8, 2)])
def test_the_order(shape: tuple[int, int, int]) -> None:
    x = torch.randn(2, *shape)
    z, log_det = Squeeze()(x)
    for c in range(shape[0]):
        for dy in (0, 1):
            for dx in (0, 1):
                assert torch.equal(z[:, c * 4 + dy * 2 + dx], x[:, c, dy::2, dx::2])
    assert torch.equal(z, F.pixel_unshuffle(x, 2))
    assert torch.equal(log_det, torch.zeros(2))
    assert torch.equal(Squeeze().inverse(z)[0], x)


def test_odd_sides_and_channels_are_refused() -> None:
    for shape in ((2, 1, 3, 2), (2, 1, 2, 3)):
        with pytest.raises(ValueError, match="even height and width, got shape"):
            Squeeze()(torch.zeros(shape))
    with pytest.raises(ValueError, match="multiple of 4 channels"):
        Squeeze().inverse(torch.zeros(2, 6, 2, 2))
