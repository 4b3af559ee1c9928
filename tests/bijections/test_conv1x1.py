import pytest
import torch
from registry import perturb

from glow_app.bijections import InvertibleConv1x1


def built(num_channels: int, size: float = 0.0) -> InvertibleConv1x1:
    torch.manual_seed(num_channels)
    return perturb(InvertibleConv1x1(num_channels), seed=num_channels, size=size)


@pytest.mark.parametrize("num_channels", [1, 3, 12, 96])
def test_starts_as_a_rotation_and_inverts_in_float32(num_channels: int) -> None:
    weight, offset, log_abs_det = built(num_channels).affine()
    torch.testing.assert_close(weight @ weight.T, torch.eye(num_channels), rtol=0, atol=1e-5)
    assert torch.equal(offset, torch.zeros(num_channels))
    assert abs(log_abs_det.item()) < 1e-4
    conv = built(num_channels, 0.3 / num_channels)
    inverse, _, _ = conv.inverse_affine()
    torch.testing.assert_close(inverse @ conv.affine()[0], torch.eye(num_channels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_channels", [1, 2, 7])
def test_the_matrix_is_the_product_of_its_factors(num_channels: int) -> None:
    conv = built(num_channels, 0.3).double()
    permutation = torch.eye(num_channels, dtype=torch.float64)[conv.permutation]
    lower = conv.lower.tril(-1) + torch.eye(num_channels, dtype=torch.float64)
    upper = conv.upper.triu(1) + torch.diag(conv.sign * conv.log_abs.exp())
    weight, _, log_abs_det = conv.affine()
    torch.testing.assert_close(weight, permutation @ lower @ upper)
    torch.testing.assert_close(log_abs_det, torch.linalg.slogdet(weight).logabsdet)
    with torch.no_grad():  # the other triangles have no influence
        conv.lower.add_(torch.ones_like(weight).triu())
        conv.upper.add_(torch.ones_like(weight).tril())
    assert torch.equal(conv.affine()[0], weight)
