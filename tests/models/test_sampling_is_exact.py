"""At temperature 1, samples are of the density: a two-sample test against samples that were found without the inverse.

Everything runs on trained models, and every test also has to tell samples of temperature 0.8 from the density.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from glow_app.bijections import Bijection
from glow_app.data.toys import TOYS
from glow_app.flows import Glow
from glow_app.likelihood import to_uint8
from glow_app.models.image_model import ImageModel
from glow_app.models.plane_model import PlaneModel
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior

pytestmark = pytest.mark.slow

PRIORS: dict[str, Callable[..., Bijection]] = {
    "gaussian": GaussianPrior,
    "planar": partial(PlanarPrior, num_layers=8),
    "maf": partial(MAFPrior, hidden_features=32, elementwise="spline"),
    "iaf": partial(IAFPrior, hidden_features=32),
    # Samples and densities come from the adaptive solver of evaluation mode.
    "cnf": partial(CNFPrior, hidden_features=16, solver="midpoint", num_steps=4),
}
priors = pytest.mark.parametrize("name", PRIORS)

# The data lie within 4; the slowest density decides how fine a grid is affordable.
HALF_SIDE = 8.0
NUM_CELLS = {"cnf": 100}

NUM_PERMUTATIONS = 1499
# Of the p-value: a difference that is there is larger than that of every permutation but a few; where there is none,
# one in five hundred sets of samples would say so.
DIFFERENT, ALIKE = 0.001, 0.002


class Fitted(NamedTuple):
    """A trained density in the plane, and its values at the middles of the cells of a grid."""

    model: PlaneModel
    points: Tensor
    log_density: Tensor
    side: float


@cache
def fitted(name: str) -> Fitted:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    toy = TOYS["two_moons"]
    model = PlaneModel(PRIORS[name])
    model.initialize(toy.sample(512, generator))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model(toy.sample(256, generator)).mean().backward()
        optimizer.step()
    num = NUM_CELLS.get(name, 300)
    side = 2 * HALF_SIDE / num
    ticks = side * (torch.arange(num) + 0.5) - HALF_SIDE
    points = torch.cartesian_prod(ticks, ticks)
    log_density = torch.cat([model.eval().log_prob(part) for part in points.split(50_000)]).double()
    return Fitted(model, points, log_density, side)


def quadrature_samples(density: Fitted, num: int) -> Tensor:
    """Return points of the density on the grid: a cell by its mass, then anywhere in the cell."""
    generator = torch.Generator().manual_seed(2)
    chosen = torch.multinomial(density.log_density.exp(), num, replacement=True, generator=generator)
    return density.points[chosen] + density.side * (torch.rand(num, 2, generator=generator) - 0.5)


def p_value(x: Tensor, y: Tensor) -> float:
    r"""Return the p-value of the maximum mean discrepancy of two sets of points, by permutations.

    The squared discrepancy is :math:`w^\top K w` with :math:`w = 1 / n_x` on the one set and :math:`-1 / n_y` on the
    other; the kernel is a mean of Gaussian ones, of widths around the median distance.

    References:
        A Kernel Two-Sample Test, Gretton et al. 2012, JMLR 13.
    """
    points = torch.cat([x, y]).flatten(1)
    squares = torch.cdist(points, points).square()
    median = squares.median()
    kernel = torch.stack([(-squares / (factor * median)).exp() for factor in (0.1, 0.3, 1.0)]).mean(0)
    generator = torch.Generator().manual_seed(3)
    orders = torch.rand(NUM_PERMUTATIONS, len(points), generator=generator).argsort(1)
    orders = torch.cat([torch.arange(len(points))[None], orders])
    weights = torch.where(orders < len(x), 1 / len(x), -1 / len(y)).to(kernel)
    discrepancies = ((weights @ kernel) * weights).sum(1)
    return (discrepancies >= discrepancies[0]).double().mean().item()


@priors
def test_vectors_of_temperature_one_are_of_the_density(name: str) -> None:
    density = fitted(name)
    expected = quadrature_samples(density, 2000)
    assert p_value(density.model.sample(2000), expected) > ALIKE
    assert p_value(density.model.sample(2000, temperature=0.8), expected) <= DIFFERENT


def strokes(num: int, generator: torch.Generator) -> Tensor:
    """Return 8x8 images of one bright stroke on a dark ground, whose direction is its label's; like digits."""
    ticks = torch.arange(8) - 3.5
    angles = math.pi * torch.rand(num, 1, 1, generator=generator)
    offsets, grounds = (torch.rand(num, 1, 1, generator=generator) for _ in range(2))
    distances = ticks[:, None] * angles.cos() + ticks * angles.sin() - 4 * (offsets - 0.5)
    values = 40 * grounds + 200 * (-distances.square() / 2).exp() + 8 * torch.randn(num, 8, 8, generator=generator)
    return values[:, None].clamp(0, 255).to(torch.uint8)


def fitted_to_images() -> ImageModel:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    model = ImageModel(Glow((1, 8, 8), 2, 2, 16))
    model.initialize(strokes(256, generator))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(300):
        optimizer.zero_grad()
        model(strokes(64, generator)).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 50.0)
        optimizer.step()
    return model.eval()


def latent_and_jacobian(flow: Glow, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flattened latents (B, D) of ``x``, and their derivatives, (B, D, D)."""
    x = x.detach().requires_grad_()
    z = torch.cat([latent.flatten(1) for latent in flow(x)[0]], dim=1)
    units = torch.eye(z.shape[1], dtype=z.dtype)[:, None].expand(-1, *z.shape)
    (rows,) = torch.autograd.grad(z, x, units, is_grads_batched=True)
    return z.detach(), rows.flatten(2).transpose(0, 1)


def solve(flow: Glow, start: Tensor, target: Tensor) -> Tensor:
    """Return the images whose latents are ``target``, (B, D), from the forward direction alone.

    Newton's method, from the images ``start``, in short steps: far from a root, whole ones need not converge.
    """
    x = start
    for _ in range(100):
        z, jacobian = latent_and_jacobian(flow, x)
        error = target - z
        if error.abs().max() < 1e-6:
            return x
        step = error * (2.0 / error.norm(dim=1, keepdim=True)).clamp_max(1.0)
        x = x + torch.linalg.solve(jacobian, step).reshape(x.shape)
    pytest.fail("Newton's method found no root")


def test_images_of_temperature_one_are_of_the_density() -> None:
    model = fitted_to_images()
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(200, 64, dtype=torch.float64, generator=generator)
    flow = Glow((1, 8, 8), 2, 2, 16).double()
    flow.load_state_dict(model.flow.state_dict())
    start = strokes(200, generator).double() / 256 - 0.5
    expected = to_uint8(solve(flow.eval().requires_grad_(False), start, noise), 8).double()
    assert p_value(model.sample(1000, 1.0, seeds=0).double(), expected) > ALIKE
    assert p_value(model.sample(1000, 0.8, seeds=0).double(), expected) <= DIFFERENT
