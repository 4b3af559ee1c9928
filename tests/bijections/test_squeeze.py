import torch

from glow_app.bijections import Squeeze


def test_the_order_of_the_channels() -> None:
    x = torch.randn(2, 3, 4, 6)
    z, log_det = Squeeze()(x)
    for c in range(3):
        for dy in (0, 1):
            for dx in (0, 1):
                assert torch.equal(z[:, c * 4 + dy * 2 + dx], x[:, c, dy::2, dx::2])
    assert torch.equal(log_det, torch.zeros(2))
