import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from glow_app.data import TOYS
from glow_app.data.toy_base import log_slab


def draw(name: str, count: int, seed: int = 0) -> Tensor:
    return TOYS[name].sample(count, torch.Generator().manual_seed(seed))


def midpoints(low: float, high: float, count: int) -> tuple[Tensor, float]:
    step = (high - low) / count
    return low + step * (torch.arange(count, dtype=torch.float64) + 0.5), step


def square(half: float, count: int) -> tuple[Tensor, Tensor]:
    coordinate, step = midpoints(-half, half, count)
    points = torch.cartesian_prod(coordinate, coordinate)
    return points, torch.full((len(points),), step**2, dtype=torch.float64)


def disc(radius: float, num_radii: int, sector: float, num_angles: int) -> tuple[Tensor, Tensor]:
    """One sector stands for all of them."""
    (radii, radial), (angles, angular) = midpoints(0, radius, num_radii), midpoints(0, sector, num_angles)
    r, angle = torch.cartesian_prod(radii, angles).unbind(1)
    return r[:, None] * torch.stack([angle.cos(), angle.sin()], 1), r * radial * angular * (2 * math.pi / sector)


def half(points: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
    """The density is the same at the mirrored point."""
    return points[: len(points) // 2], 2 * area[: len(area) // 2]


# What each is integrated over: points and the area each stands for, whose edges are whole numbers of cells apart.
QUADRATURE: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "two_moons": lambda: square(5, 120),
    "eight_gaussians": lambda: square(6, 120),
    "checkerboard": lambda: square(5, 100),
    "pinwheel": lambda: disc(5.6, 112, 2 * math.pi / 5, 72),
    "rings": lambda: square(3.6, 144),
    "two_spirals": lambda: half(*square(4.2, 84)),
}


@cache
def integrand(name: str) -> tuple[Tensor, Tensor, Tensor]:
    points, area = QUADRATURE[name]()
    log_density = TOYS[name].log_density(points)
    return points, area * log_density.exp(), log_density


@pytest.mark.parametrize("name", TOYS)
def test_density_integrates_to_one_and_gives_the_entropy(name: str) -> None:
    _, mass, log_density = integrand(name)
    assert log_density.dtype == torch.float64
    assert mass.sum().item() == pytest.approx(1, abs=1e-5)
    assert -(mass * log_density).nansum().item() == pytest.approx(TOYS[name].entropy, abs=3e-5)


@pytest.mark.parametrize("name", TOYS)
def test_points_follow_the_density(name: str) -> None:
    points, mass, _ = integrand(name)
    count = 100_000
    drawn = draw(name, count).double()
    if name == "pinwheel":
        cells, found = points.norm(dim=1) // 0.4, drawn.norm(dim=1) // 0.4
    else:
        if name == "two_spirals":
            drawn = torch.where(drawn[:, :1] < 0, drawn, -drawn)
        cells, found = ((value.floor() + 6) @ value.new_tensor([12, 1]) for value in (points, drawn))
    expected = count * torch.zeros(200, dtype=torch.float64).index_add(0, cells.long(), mass)
    observed = torch.bincount(found.long(), minlength=200)
    likely = expected > 20
    assert likely.sum() >= 8
    rest = expected[~likely].sum().item()
    assert observed[~likely].sum() == pytest.approx(rest, abs=5 * math.sqrt(rest) + 3)
    # Chi-square per degree of freedom: 1 with a deviation of sqrt(2 / cells), and the quadrature errs at edges.
    chi_square = ((observed - expected)[likely].square() / expected[likely]).mean().item()
    assert chi_square < 1 + 5 * math.sqrt(2 / likely.sum().item())


@pytest.mark.parametrize("name", TOYS)
def test_mean_log_density_of_points_is_minus_the_entropy(name: str) -> None:
    log_density = TOYS[name].log_density(draw(name, 2000, seed=1))
    error = log_density.std().item() / math.sqrt(2000)
    assert -log_density.mean().item() == pytest.approx(TOYS[name].entropy, abs=4 * error + 1e-9)


# E|x|^2, by hand from the published formulas.
SQUARES = {
    "two_moons": (4 - 8 / math.pi * 0.2 + 1.04 + 4 - 8 / math.pi * 0.8 + 1.64) / 2 + 2 * 0.04,
    "eight_gaussians": (16 + 2 * 0.25) / 1.414**2,
    "checkerboard": 2 * 16 / 3,
    "pinwheel": 4 * (1 + 0.3**2 + 0.1**2),
    "rings": 9 * (1 + 0.75**2 + 0.5**2 + 0.25**2) / 4 + 2 * 0.08**2,
}


@pytest.mark.parametrize("name", SQUARES)
def test_scale(name: str) -> None:
    squares = draw(name, 100_000, seed=2).double().square().sum(1)
    assert squares.mean().item() == pytest.approx(SQUARES[name], abs=4 * squares.std().item() / math.sqrt(1e5))


def test_spirals_run_outwards_for_one_and_a_half_turns() -> None:
    points = draw("two_spirals", 100_000, seed=2)
    assert points.norm(dim=1).max().item() == pytest.approx(math.pi + 0.4, abs=0.25)
    # Radius n / 3 at n = pi, 2 pi and 3 pi is on the horizontal axis, on alternate sides.
    toy = TOYS["two_spirals"]
    near, far = (toy.log_density(torch.tensor([[n / 3 * sign, 0.0] for sign in (1, -1)])) for n in (math.pi, 4.7))
    assert (near > far + 2).all()


def test_pinwheel_has_five_equal_blades_that_turn_clockwise() -> None:
    radius, k = torch.full((5,), 2.0), torch.arange(5)
    angle = -0.25 * math.e - 2 * math.pi / 5 * k
    blades = TOYS["pinwheel"].log_density(torch.stack([radius * angle.cos(), radius * angle.sin()], 1))
    peak = -math.log(5 * 4 * 2 * math.pi * 0.3 * 0.1)
    assert blades.tolist() == pytest.approx([peak] * 5, abs=1e-3)


def test_checkerboard_has_points_on_dark_squares_only() -> None:
    toy = TOYS["checkerboard"]
    assert toy.entropy == pytest.approx(3.4657359)
    corners = torch.tensor([[-4.0, -4], [4, 4], [0, 0], [1, 1], [1, -1], [5, 1]])
    assert toy.log_density(corners).exp().mul(32).tolist() == pytest.approx([1, 1, 1, 1, 0, 0])
    assert toy.log_density(draw("checkerboard", 50_000)).unique().tolist() == [-math.log(32)]


def test_slab_is_exact_far_into_both_tails() -> None:
    offset = torch.tensor([-0.3, 0.0, 0.1, 1 / 6, 0.4], dtype=torch.float64)
    cdf = torch.special.ndtr
    direct = ((cdf(offset / 0.1) - cdf((offset - 1 / 6) / 0.1)) * 6).log()
    assert log_slab(offset, 1 / 6, 0.1).tolist() == pytest.approx(direct.tolist(), abs=1e-9)
    # Far outside it is the nearer edge's tail: log(phi(t) / t / width), t in standard deviations.
    t = 100.0
    tail = -(t**2) / 2 - math.log(math.sqrt(2 * math.pi) * t / 6)
    tails = log_slab(torch.tensor([-10.0, 10 + 1 / 6], dtype=torch.float64), 1 / 6, 0.1)
    assert tails.tolist() == pytest.approx([tail, tail], abs=1e-3)


@pytest.mark.parametrize("name", TOYS)
def test_points_and_their_densities_are_plain(name: str) -> None:
    points = draw(name, 7)
    assert (points.dtype, points.shape) == (torch.float32, (7, 2))
    assert torch.equal(points, draw(name, 7))
    assert not torch.equal(points, draw(name, 7, seed=1))
    far = TOYS[name].log_density(torch.tensor([[300.0, -40.0], [1e4, 0.0], [0.0, 0.0]]))
    assert not far.isnan().any()
    assert (far[:2] < -1000).all()
