"""What only the benchmarks try is held to the contract of a bijection too, or its figures would mean nothing."""

from collections.abc import Callable
from typing import cast

import pytest
import torch
from ideas import CheckerboardCoupling, MapCoupling, VariationalDequantisation, WeightNormConditioner
from plain import LaidOutConditioner, PlainConditioner, set_apart
from registry import perturb, random_images
from torch import Tensor

from glow_app.bijections import AffineMap, Bijection, SplineMap
from glow_app.bijections.elementwise import ElementwiseMap
from glow_app.flows import Glow
from glow_app.nn import ConvConditioner


def coupling(function: ElementwiseMap) -> Bijection:
    return MapCoupling(4, ConvConditioner(2, 2 * function.num_parameters, 6), function)


BIJECTIONS = {
    "affine": lambda: coupling(AffineMap()),
    "spline": lambda: coupling(SplineMap(4, 3.0)),
    "checkerboard 0": lambda: CheckerboardCoupling(4, ConvConditioner(4, 8, 6), 0),
    "checkerboard 1": lambda: CheckerboardCoupling(4, ConvConditioner(4, 8, 6), 1),
    "weight norm": lambda: MapCoupling(4, WeightNormConditioner(2, 4, 6), AffineMap()),
}


def log_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    jacobian = cast(Tensor, torch.autograd.functional.jacobian(function, x))
    return jacobian.reshape(x.numel(), x.numel()).slogdet().logabsdet


@pytest.mark.parametrize("name", BIJECTIONS)
def test_log_determinants_are_those_of_the_jacobian_and_inverses_exact(name: str) -> None:
    bijection = perturb(BIJECTIONS[name]().double(), size=0.2)
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    bijection.initialize(torch.randn(8, 4, 2, 3, dtype=torch.float64))
    z, log_det = bijection(x)
    back, log_det_back = bijection.inverse(z)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det_back, -log_det, rtol=0, atol=1e-9)
    for one, found in zip(x, log_det, strict=True):
        torch.testing.assert_close(found, log_jacobian(lambda x: bijection(x[None])[0], one), rtol=0, atol=1e-9)


def test_weight_normalisation_starts_with_normal_activations() -> None:
    conditioner, x = WeightNormConditioner(2, 4, 6), torch.randn(64, 2, 8, 8)
    conditioner.initialize(x)
    h = conditioner.first(x)
    torch.testing.assert_close(h.mean((0, 2, 3)), torch.zeros(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(h.std((0, 2, 3)), torch.ones(6), rtol=0, atol=1e-3)


def test_learned_noise_is_uniform_at_first_and_has_the_density_that_it_says() -> None:
    noise, images = VariationalDequantisation(1, 6, num_steps=2), random_images(4, (1, 2, 2))
    noise.initialize(images)
    u, log_density = noise(images)
    assert 0 < float(u.min()) < float(u.max()) < 1
    torch.testing.assert_close(log_density, torch.zeros(4), rtol=0, atol=1e-4)
    perturb(noise.double(), size=0.03)
    start = torch.rand(4, 1, 2, 2, dtype=torch.float64)
    _, log_densities = noise.noise(images, start)
    for image, one, log_density in zip(images, start, log_densities, strict=True):
        found = -log_jacobian(lambda one, image=image: noise.noise(image[None], one[None])[0], one)  # type: ignore[misc]
        torch.testing.assert_close(found, log_density, rtol=0, atol=1e-6)


@pytest.mark.parametrize("conditioner", [PlainConditioner, LaidOutConditioner])
def test_the_step_as_written_down_first_is_the_product_s(conditioner: type[ConvConditioner]) -> None:
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    product = Glow((3, 8, 8), 2, 2, 6).double()
    plain = Glow((3, 8, 8), 2, 2, 6, conditioner=conditioner)
    set_apart(plain)
    plain = plain.double()
    product.initialize(x)
    perturb(product, size=0.1)
    plain.load_state_dict(product.state_dict())
    expected, found = product.log_prob(x), plain.log_prob(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    expected.sum().backward()
    found.sum().backward()
    for one, other in zip(plain.parameters(), product.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-9)
