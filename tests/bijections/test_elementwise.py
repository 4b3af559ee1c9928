import pytest
import torch

from glow_app.bijections import AffineMap, ElementwiseMap, SplineMap

MAPS = [AffineMap(), SplineMap(), SplineMap(1, 2.0), SplineMap(20, 3.0)]
maps = pytest.mark.parametrize("function", MAPS, ids=lambda function: type(function).__name__)


def parameters(function: ElementwiseMap, *shape: int, size: float = 2.0) -> torch.Tensor:
    torch.manual_seed(0)
    return size * torch.randn(*shape, function.num_parameters, dtype=torch.float64)


@maps
def test_the_identity_at_zero(function: ElementwiseMap) -> None:
    x = torch.linspace(-9, 9, 401, dtype=torch.float64)
    zero = torch.zeros(401, function.num_parameters, dtype=torch.float64)
    for direction in (function.forward, function.inverse):
        y, log_derivative = direction(x, zero)
        torch.testing.assert_close(y, x, rtol=0, atol=1e-12)
        torch.testing.assert_close(log_derivative, torch.zeros_like(x), rtol=0, atol=1e-12)


@maps
@pytest.mark.parametrize("size", [0.5, 3.0, 30.0])
def test_inverts_and_rises_for_any_parameters(function: ElementwiseMap, size: float) -> None:
    x = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    theta = parameters(function, 1, size=size).expand(2001, -1)
    z, log_derivative = function.forward(x, theta)
    assert (z.diff() > 0).all()
    back, inverse_log_derivative = function.inverse(z, theta)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-7)
    torch.testing.assert_close(inverse_log_derivative, -log_derivative, rtol=0, atol=1e-6)


def test_the_spline_and_its_slope_are_continuous_up_to_its_bound() -> None:
    spline = SplineMap(4, 2.0)
    x = torch.linspace(-2.5, 2.5, 50_001, dtype=torch.float64)
    z, log_derivative = spline.forward(x, parameters(spline, 1, size=0.7).expand(len(x), -1))
    assert z.diff().max() < 4e-3
    assert log_derivative.diff().abs().max() < 4e-2
    outside = x.abs() >= 2
    assert torch.equal(z[outside], x[outside])
    assert not log_derivative[outside].any()


def test_gradients_are_finite_in_float32_at_extreme_parameters() -> None:
    spline = SplineMap()
    for direction in (spline.forward, spline.inverse):
        theta = parameters(spline, 1000, size=50.0).float().requires_grad_()
        x = torch.linspace(-1e4, 1e4, 1000).requires_grad_()
        y, log_derivative = direction(x / 1e3, theta)
        for gradient in torch.autograd.grad((y + log_derivative).sum(), [x, theta]):
            assert gradient.isfinite().all()


def test_arguments_are_checked() -> None:
    assert AffineMap().inverse(torch.ones(2), torch.tensor([[0.0, 1e9], [0.0, -1e9]]))[1].tolist() == [4.0, -4.0]
    for bound in (0.0, float("nan")):
        with pytest.raises(ValueError, match="tail_bound is"):
            SplineMap(8, bound)
    for num_bins in (0, 1000):
        with pytest.raises(ValueError, match="num_bins is"):
            SplineMap(num_bins)


@pytest.mark.parametrize("size", [3.0, 10.0])
def test_the_inverse_spline_does_not_cancel_in_float32(size: float) -> None:
    spline, num = SplineMap(8, 3.0), 50_000
    theta, z = size * torch.randn(num, spline.num_parameters), 6 * torch.rand(num) - 3
    x, log_derivative = spline.inverse(z, theta)
    back, forward_log_derivative = spline.forward(x, theta)
    # Of slopes up to a thousand.
    torch.testing.assert_close(back, z, rtol=0, atol=1e-3)
    torch.testing.assert_close(log_derivative, -forward_log_derivative, rtol=0, atol=0.1)
