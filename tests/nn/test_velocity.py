from collections.abc import Callable

import pytest
import torch
from registry import perturb
from torch import Tensor

from glow_app.nn import ConvVelocity, MLPVelocity, Velocity

TIME = torch.tensor(0.3, dtype=torch.float64)
Factory = Callable[[int], Velocity]

velocities = pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (lambda features: MLPVelocity(3, 5, context_features=features, num_frequencies=2), (3,)),
        (lambda features: ConvVelocity(3, 5, features), (3, 4, 2)),
    ],
)


def batch(shape: tuple[int, ...], features: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randn(4, features, generator=generator, dtype=torch.float64)


@velocities
def test_depends_on_time_and_context_and_every_parameter_learns(factory: Factory, shape: tuple[int, ...]) -> None:
    velocity, (x, context) = perturb(factory(2).double()), batch(shape)
    found = velocity(TIME, x, context)
    for other in (velocity(TIME + 0.5, x, context), velocity(TIME, x, context + 1)):
        assert (other - found).abs().flatten(1).max(1).values.min() > 1e-4
    found.square().sum().backward()
    for name, parameter in velocity.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
