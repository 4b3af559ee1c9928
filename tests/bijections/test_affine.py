import math

import pytest
import torch
from registry import perturb

from glow_app.bijections import ConditionalAffine, DiagonalAffine
from glow_app.likelihood import standard_normal_log_density


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 4), (1, 1, 4), (1, 1, 1)])
def test_diagonal_affine_is_the_density_of_a_gaussian(shape: tuple[int, ...]) -> None:
    affine = perturb(DiagonalAffine(shape).double())
    x = torch.randn(5, 3, 2, 4, dtype=torch.float64)
    z, log_det = affine(x)
    gaussian = torch.distributions.Normal(affine.mean, affine.log_scale.exp())
    expected = gaussian.log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(standard_normal_log_density([z]) + log_det, expected)


def test_both_start_as_the_identity() -> None:
    x, context = torch.randn(5, 3, 2, 4), torch.randn(5, 2, 2, 4)
    for z, log_det in (DiagonalAffine((3, 1, 1))(x), ConditionalAffine(3, 2)(x, context)):
        assert torch.equal(z, x)
        assert torch.equal(log_det, torch.zeros(5))


def test_diagonal_affine_takes_vectors() -> None:
    x = torch.randn(5, 3)
    z, log_det = perturb(DiagonalAffine((3,)))(x)
    assert z.shape == (5, 3)
    assert log_det.shape == (5,)


@pytest.mark.parametrize("max_log_scale", [0.5, 4.0])
@pytest.mark.parametrize("sign", [-1e4, 1e4])
def test_the_log_scale_is_bounded_with_finite_gradients(max_log_scale: float, sign: float) -> None:
    affine = ConditionalAffine(2, 3, kernel_size=1, max_log_scale=max_log_scale)
    with torch.no_grad():
        affine.projection.bias[2:] = sign
    x, context = torch.ones(4, 2, 1, 1), torch.randn(4, 3)
    z, log_det = affine(x, context)
    assert (log_det.abs() <= 2 * max_log_scale * (1 + 1e-6)).all()
    assert (z.log().abs() <= max_log_scale * (1 + 1e-5)).all()
    (z.sum() + log_det.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in affine.parameters())
    torch.testing.assert_close(affine.inverse(z, context)[0], x)


def test_a_small_log_scale_passes_nearly_unchanged() -> None:
    affine = ConditionalAffine(1, 1, kernel_size=1).double()
    with torch.no_grad():
        affine.projection.bias[1] = 0.1
    log_det = affine.inverse(torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))[1]
    assert log_det.item() == pytest.approx(4 * math.tanh(0.1 / 4))


def test_the_context_moves_mean_and_scale() -> None:
    affine = perturb(ConditionalAffine(2, 3, kernel_size=1))
    x = torch.randn(1, 2, 2, 2).expand(4, -1, -1, -1)
    z, log_det = affine(x, torch.randn(4, 3))
    assert len(log_det.unique()) == 4
    assert not torch.allclose(z[0], z[1])


@pytest.mark.parametrize(
    "context_shape",
    [
        None,
        (4, 2),
        (4, 3, 2),
        (3, 3),
        (1, 3),
        pytest.param((4, 3, 3, 2), id="other sides"),
        pytest.param((4, 3, 4, 2), id="twice the height"),
    ],
)
def test_a_wrong_context_is_a_value_error(context_shape: tuple[int, ...] | None) -> None:
    affine = ConditionalAffine(2, 3, kernel_size=1)
    context = None if context_shape is None else torch.zeros(context_shape)
    for direction in (affine.forward, affine.inverse):
        with pytest.raises(ValueError, match="context of shape"):
            direction(torch.zeros(4, 2, 2, 2), context)


def test_a_context_map_never_enlarges_a_single_pixel() -> None:
    affine = ConditionalAffine(2, 3)
    with pytest.raises(ValueError, match="context"):
        affine(torch.zeros(4, 2, 1, 1), torch.zeros(4, 3, 2, 2))
