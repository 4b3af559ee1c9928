from collections.abc import Callable

import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.nn import ConvVelocity, MLPVelocity, Velocity

TIME = torch.tensor(0.3, dtype=torch.float64)

velocities = pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (lambda features: MLPVelocity(3, 5, context_features=features), (3,)),
        (lambda features: MLPVelocity(3, 5, num_layers=1, context_features=features), (3,)),
        (lambda features: MLPVelocity(3, 5, context_features=features, num_frequencies=2), (3,)),
        (lambda features: ConvVelocity(3, 5, features), (3, 4, 2)),
    ],
)
Factory = Callable[[int], Velocity]


def built(factory: Factory, features: int = 2) -> Velocity:
    torch.manual_seed(0)
    return perturb(factory(features).double())


def batch(shape: tuple[int, ...], features: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randn(4, features, generator=generator, dtype=torch.float64)


@velocities
@pytest.mark.parametrize("features", [0, 2])
def test_starts_at_zero_everywhere(factory: Factory, shape: tuple[int, ...], features: int) -> None:
    x, context = batch(shape)
    velocity = factory(features).double()
    for time in (0.0, 0.4, 1.0):
        found = velocity(torch.tensor(time), 10 * x, 10 * context if features else None)
        assert torch.equal(found, torch.zeros_like(x))


@velocities
def test_point_time_and_context_all_matter(factory: Factory, shape: tuple[int, ...]) -> None:
    velocity = built(factory)
    x, context = batch(shape)
    expected = velocity(TIME, x, context)
    assert expected.shape == x.shape
    assert expected.dtype == x.dtype
    for other in (velocity(TIME + 0.1, x, context), velocity(TIME, x + 0.1, context), velocity(TIME, x, -context)):
        assert (other - expected).abs().flatten(1).max(1).values.min() > 1e-4


@velocities
def test_every_parameter_learns_once_the_last_layer_has_moved(factory: Factory, shape: tuple[int, ...]) -> None:
    velocity = built(factory)
    velocity(TIME, *batch(shape)).square().sum().backward()
    for name, parameter in velocity.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@velocities
def test_is_smooth_enough_for_the_derivative_of_its_derivative(factory: Factory, shape: tuple[int, ...]) -> None:
    velocity = built(factory)
    x, context = batch(shape)
    assert torch.autograd.gradgradcheck(lambda x: velocity(TIME, x, context), x.requires_grad_(), fast_mode=True)


def test_is_the_concat_squash_network_of_ffjord() -> None:
    velocity = built(lambda features: MLPVelocity(3, 5, 2, features))
    x, context = batch((3,))
    weights = dict(velocity.named_parameters())
    condition = torch.cat([TIME.expand(4, 1), context], dim=1)
    h = x
    for index in range(3):
        if index:
            h = h * torch.sigmoid(h)
        name = f"network.layers.{index}."
        layer = h @ weights[name + "layer.weight"].T + weights[name + "layer.bias"]
        gate = torch.sigmoid(condition @ weights[name + "gate.weight"].T + weights[name + "gate.bias"])
        h = layer * gate + condition @ weights[name + "bias.weight"].T
    torch.testing.assert_close(velocity(TIME, x, context), h, rtol=0, atol=1e-14)


def test_convolutions_reach_three_pixels_and_commute_with_shifts_inside() -> None:
    velocity = perturb(ConvVelocity(1, 5).double())
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    spot = x.clone()
    spot[0, 0, 4, 4] = 1.0
    changed = (velocity(TIME, spot) - velocity(TIME, x))[0, 0].abs() > 1e-12
    assert changed[1:8, 1:8].all()
    assert changed.sum() == 49


@velocities
def test_other_shapes_are_refused_in_one_line(factory: Factory, shape: tuple[int, ...]) -> None:
    velocity = built(factory)
    x, context = batch(shape)
    for bad in (x[:, :2], x[..., None], x[0]):
        with pytest.raises(ValueError, match=r"Velocity expects shape \(B, 3.*\), got \(") as caught:
            velocity(TIME, bad, context)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"expects a context of shape \(4, 2\), got None"):
        velocity(TIME, x)
    with pytest.raises(ValueError, match=r"expects a context of shape \(4, 2\), got \(4, 1\)"):
        velocity(TIME, x, context[:, :1])


def test_no_hidden_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="num_layers is 0"):
        MLPVelocity(3, num_layers=0)


def test_frequencies_are_checked() -> None:
    with pytest.raises(ValueError, match="num_frequencies is -1; expected at least 0"):
        MLPVelocity(3, num_frequencies=-1)
