import math
from functools import cache

import pytest
import torch
from torch import Tensor

from glow_app.data.splits import Split
from glow_app.data.toys import TOYS, load_points

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# Half the side of the square over which a density is integrated, and its cells a side; edges are between cells.
SQUARES = {"eight_gaussians": (6, 120), "checkerboard": (5, 100), "rings": (3.6, 144)}


def draw(name: str, count: int, seed: int = 0) -> Tensor:
    return TOYS[name].sample(count, torch.Generator().manual_seed(seed))


@cache
def integrand(name: str) -> tuple[Tensor, Tensor, Tensor]:
    half, count = SQUARES[name]
    step = 2 * half / count
    coordinate = -half + step * (torch.arange(count, dtype=torch.float64) + 0.5)
    points = torch.cartesian_prod(coordinate, coordinate)
    log_density = TOYS[name].log_density(points)
    return points, step**2 * log_density.exp(), log_density


def test_known_densities() -> None:
    assert {name for name, toy in TOYS.items() if toy.density} == set(SQUARES)
    with pytest.raises(ValueError, match="no closed form"):
        TOYS["two_moons"].log_density(torch.zeros(1, 2))


@pytest.mark.parametrize("name", SQUARES)
def test_a_density_integrates_to_one_and_gives_the_entropy(name: str) -> None:
    _, mass, log_density = integrand(name)
    assert mass.sum().item() == pytest.approx(1, abs=1e-5)
    assert -(mass * log_density).nansum().item() == pytest.approx(TOYS[name].entropy, abs=3e-5)
    far = TOYS[name].log_density(torch.tensor([[300.0, -40.0], [1e4, 0.0]]))
    assert (far < -1000).all()


@pytest.mark.parametrize("name", SQUARES)
def test_points_follow_the_density(name: str) -> None:
    points, mass, _ = integrand(name)
    count = 100_000
    drawn = draw(name, count).double()
    cells, drawn_cells = ((value.floor() + 6) @ value.new_tensor([12, 1]) for value in (points, drawn))
    expected = count * torch.zeros(200, dtype=torch.float64).index_add(0, cells.long(), mass)
    observed = torch.bincount(drawn_cells.long(), minlength=200)
    likely = expected > 20
    rest = expected[~likely].sum().item()
    assert observed[~likely].sum() == pytest.approx(rest, abs=5 * math.sqrt(rest) + 3)
    # Chi-square per degree of freedom: 1 with a deviation of sqrt(2 / cells), and the quadrature errs at edges.
    chi_square = ((observed - expected)[likely].square() / expected[likely]).mean().item()
    assert chi_square < 1 + 5 * math.sqrt(2 / likely.sum().item())


@pytest.mark.parametrize("name", TOYS)
def test_the_entropy_matches_the_points(name: str) -> None:
    # Kozachenko and Leonenko's estimate of the entropy, by the distance of each point to its nearest neighbour.
    count = 5000
    points = draw(name, count).double()
    nearest = torch.cdist(points, points).fill_diagonal_(math.inf).amin(1)
    terms = 2 * nearest.log() + math.log(math.pi * (count - 1)) + 0.5772156649
    assert terms.mean().item() == pytest.approx(TOYS[name].entropy, abs=4 * terms.std().item() / math.sqrt(count))


@pytest.mark.parametrize("name", TOYS)
def test_points_depend_on_seed_and_split(name: str) -> None:
    parts = [load_points(name, split, limit=100).values for split in SPLITS]
    assert all(part.shape == (100, 2) and part.dtype == torch.float32 for part in parts)
    assert torch.equal(parts[0], load_points(name, "train").values[:100])
    assert not torch.equal(parts[0], load_points(name, "train", seed=1, limit=100).values)
    assert len({tuple(point) for part in parts for point in part.tolist()}) == 300
    assert [len(load_points(name, split)) for split in SPLITS] == [50_000, 5_000, 20_000]
