import pytest
import torch
import torch.nn.functional as F
from registry import perturb

from glow_app.bijections import ActNorm
from glow_app.nn import ActNormConv2d, ZeroConv2d


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_actnorm_conv_normalises_the_first_batch(kernel_size: int) -> None:
    torch.manual_seed(0)
    conv = ActNormConv2d(3, 5, kernel_size)
    y = conv.initialize(7 + 2 * torch.randn(16, 3, 6, 4))
    assert y.shape == (16, 5, 6, 4)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_actnorm_conv_is_a_convolution_and_then_actnorm(kernel_size: int) -> None:
    torch.manual_seed(0)
    conv = ActNormConv2d(3, 5, kernel_size).double()
    conv.initialize(torch.randn(16, 3, 6, 4, dtype=torch.float64))
    perturb(conv)
    actnorm = ActNorm(5).double()
    actnorm.norm.load_state_dict(conv.norm.state_dict())
    x = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(conv(x), actnorm(F.conv2d(x, conv.weight, padding="same"))[0])


def test_actnorm_conv_raises_before_initialisation() -> None:
    with pytest.raises(RuntimeError, match="not initialised"):
        ActNormConv2d(3, 5, 3)(torch.zeros(1, 3, 4, 4))


def test_zero_conv_starts_at_zero_and_follows_its_formula() -> None:
    torch.manual_seed(0)
    conv = ZeroConv2d(3, 5).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    assert torch.equal(conv(x), torch.zeros(2, 5, 4, 6, dtype=torch.float64))
    perturb(conv)
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1) * (3 * conv.log_scale).exp()[:, None, None]
    torch.testing.assert_close(conv(x), expected)


def test_zero_conv_learns_from_zero() -> None:
    conv = ZeroConv2d(3, 5)
    conv(torch.randn(2, 3, 4, 6)).sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.abs().min() > 0
