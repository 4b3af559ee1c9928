import pytest
import torch
import torch.nn.functional as F
from registry import perturb

from glow_app.bijections import InvertibleConv1x1


def built(num_channels: int, size: float = 0.0) -> InvertibleConv1x1:
    torch.manual_seed(num_channels)
    return perturb(InvertibleConv1x1(num_channels), seed=num_channels, size=size)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4, 12, 96])
def test_starts_as_a_rotation(num_channels: int) -> None:
    weight, offset, log_abs_det = built(num_channels).affine()
    torch.testing.assert_close(weight @ weight.T, torch.eye(num_channels), rtol=0, atol=1e-5)
    assert torch.equal(offset, torch.zeros(num_channels))
    assert abs(log_abs_det.item()) < 1e-4


@pytest.mark.parametrize("num_channels", [1, 2, 3, 7, 12])
def test_the_matrix_is_what_its_factors_say(num_channels: int) -> None:
    conv = built(num_channels, 0.3).double()
    permutation = torch.eye(num_channels, dtype=torch.float64)[conv.permutation]
    lower = conv.lower.tril(-1) + torch.eye(num_channels, dtype=torch.float64)
    upper = conv.upper.triu(1) + torch.diag(conv.sign * conv.log_abs.exp())
    weight, _, log_abs_det = conv.affine()
    torch.testing.assert_close(weight, permutation @ lower @ upper)
    torch.testing.assert_close(log_abs_det, torch.linalg.slogdet(weight).logabsdet)
    torch.testing.assert_close(conv.log_abs.sum().exp(), torch.linalg.det(weight).abs())


def test_it_is_a_convolution() -> None:
    conv = built(3, 0.3)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(conv(x)[0], F.conv2d(x, conv.affine()[0][:, :, None, None]))
    torch.testing.assert_close(conv(x)[1], (20 * conv.log_abs.sum()).expand(2))


@pytest.mark.parametrize("num_channels", [1, 2, 3, 12, 24, 48, 96])
def test_the_inverse_matrix_in_float32(num_channels: int) -> None:
    conv = built(num_channels, 0.3 / num_channels)
    inverse, _, log_abs_det = conv.inverse_affine()
    weight, _, forward_log_abs_det = conv.affine()
    assert inverse.dtype == torch.float32
    torch.testing.assert_close(inverse @ weight, torch.eye(num_channels), rtol=0, atol=1e-5)
    assert torch.equal(log_abs_det, -forward_log_abs_det)


def test_no_determinant_and_no_general_inverse_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = built(4, 0.2)

    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("this costs C^3 a call, and loses digits")

    names = ("inverse", "det", "slogdet", "logdet", "pinverse")
    targets = [(torch, name) for name in names] + [(torch.Tensor, name) for name in names]
    targets += [(torch.linalg, name) for name in ("inv", "inv_ex", "pinv", "det", "slogdet", "solve")]
    for owner, name in targets:
        monkeypatch.setattr(owner, name, refuse)
    x = torch.randn(2, 4, 3, 3)
    z, log_det = conv(x)
    (z.sum() + log_det.sum()).backward()
    torch.testing.assert_close(conv.inverse(z)[0], x, rtol=0, atol=1e-5)


def test_the_unused_triangles_have_no_influence() -> None:
    conv = built(4, 0.2)
    x = torch.randn(2, 4, 1, 1)
    expected = conv(x)[0]
    with torch.no_grad():
        conv.lower.add_(torch.ones(4, 4).triu())
        conv.upper.add_(torch.ones(4, 4).tril())
    assert torch.equal(conv(x)[0], expected)
