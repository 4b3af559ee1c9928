import colorsys
import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from registry import perturb
from torch import Tensor

from glow_app.bijections import Bijection, ContinuousFlow
from glow_app.data import TOYS, load_points
from glow_app.generation import plane
from glow_app.generation.plane import density_picture, flow_picture, samples_picture
from glow_app.models.plane_model import PlaneModel
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, MAFPrior, PlanarPrior

SIDE = 80

PRIORS: dict[str, Callable[..., Bijection]] = {
    "gaussian": GaussianPrior,
    "planar": partial(PlanarPrior, num_layers=3),
    "maf": partial(MAFPrior, hidden_features=8),
    "iaf": partial(IAFPrior, hidden_features=8, elementwise="spline"),
    "cnf": partial(CNFPrior, hidden_features=6, solver="rk4", num_steps=4, eval_solver="rk4"),
}

each_prior = pytest.mark.parametrize("name", PRIORS)


class ToyModel(PlaneModel):
    """Has the exact density of a toy."""

    def __init__(self, toy: str) -> None:
        super().__init__()
        self.toy = TOYS[toy]

    def log_prob(self, x: Tensor) -> Tensor:
        density = self.toy.log_density(x)
        assert density is not None
        return density


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plane, "SIDE", SIDE)


def points_at(*centres: tuple[float, float], num: int = 500, std: float = 0.2) -> Tensor:
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.tensor(centre) + std * noise for centre in centres])


def built(name: str, points: Tensor | None = None) -> PlaneModel:
    torch.manual_seed(0)
    model = PlaneModel(PRIORS[name]).eval()
    model.initialize(points_at((1.0, 2.0)) if points is None else points)
    perturb(model.flow.bijections[2], seed=1, size=0.3)
    return model


def brightness(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(int).sum(-1)


def panels_of(picture: Image.Image) -> list[Image.Image]:
    """Return the squares of a row, which a gap of white separates."""
    width, side = picture.size
    count = round((width + plane.GAP) / (side + plane.GAP))
    starts = [index * (side + plane.GAP) for index in range(count)]
    assert width == starts[-1] + side
    return [picture.crop((start, 0, start + side, side)) for start in starts]


def brightest(picture: Image.Image) -> list[float]:
    """Return the middle of the brightest pixels, from -1 at the left and at the bottom to 1."""
    light = brightness(picture)
    rows, columns = np.nonzero(light >= light.max() - 3)
    return [(columns.mean() + 0.5) / len(light) * 2 - 1, 1 - (rows.mean() + 0.5) / len(light) * 2]


def pixel_centres(points: Tensor, side: int) -> Tensor:
    """Return where the pixels lie, row by row from the top: the frame is a square a fifth wider than the data."""
    low, high = np.quantile(points.double().numpy(), [0.002, 0.998], axis=0)
    radius = 0.6 * (high - low).max()
    steps = ((np.arange(side) + 0.5) / side * 2 - 1) * radius
    x, y = np.meshgrid(steps, steps[::-1])
    return torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1) + (low + high) / 2)


@pytest.mark.parametrize("toy", ["eight_gaussians", "checkerboard", "rings"])
def test_it_is_bright_where_the_density_is_high(monkeypatch: pytest.MonkeyPatch, toy: str) -> None:
    side = 40
    monkeypatch.setattr(plane, "SIDE", side * plane.CELL)
    points = load_points(toy, "test", limit=5000).values
    picture = density_picture(ToyModel(toy), points)
    assert (picture.mode, picture.size) == ("RGB", (side * plane.CELL, side * plane.CELL))
    cells = picture.resize((side, side), Image.Resampling.NEAREST)
    assert np.array_equal(np.asarray(cells.resize(picture.size, Image.Resampling.NEAREST)), np.asarray(picture))
    # Rounded to 8 bits: no brighter pixel is less dense by more than a shade.
    density = ToyModel(toy).log_prob(pixel_centres(points, side)).exp().numpy()
    light = brightness(cells).ravel()
    level = np.clip(density / np.quantile(density, 0.999), 0, 1)
    order = np.argsort(level)
    assert (np.maximum.accumulate(light[order]) - light[order]).max() <= 3
    assert light[level == 0].max(initial=0) <= 40 < 600 < light.max()
    assert np.corrcoef(level, light)[0, 1] > 0.95


@pytest.mark.parametrize("centre", [(3.0, 0.0), (-3.0, 0.0), (0.0, 3.0), (0.0, -3.0)], ids=str)
def test_right_is_right_and_up_is_up(small: None, centre: tuple[float, float]) -> None:
    model = PlaneModel()
    model.initialize(points_at(centre))
    frame = points_at((-4.0, -4.0), (4.0, 4.0))
    picture = density_picture(model, frame)
    left, right = panels_of(samples_picture(model, torch.cat([frame, points_at(centre, num=5000)])))
    for shown in (picture, left, right):
        # The frame reaches to 5.3 or so.
        assert brightest(shown) == pytest.approx([value / 5.3 for value in centre], abs=0.08)


def test_the_default_size() -> None:
    model = built("gaussian")
    assert density_picture(model, points_at((1.0, 2.0))).size == (360, 360)
    assert samples_picture(model, points_at((1.0, 2.0))).size == (724, 360)


def test_data_on_the_left_and_as_many_samples_on_the_right(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    sample = PlaneModel.sample

    def spy(self: PlaneModel, num: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
        asked.append(num)
        return sample(self, num, temperature, seed)

    monkeypatch.setattr(PlaneModel, "sample", spy)
    model = PlaneModel()
    model.initialize(points_at((2.0, 0.0), std=0.1))
    data = points_at((-2.0, 0.0), (2.0, 0.0), num=1000)
    left, right = panels_of(samples_picture(model, data))
    assert asked == [2000]
    dark = brightness(left).min()
    half = SIDE // 2
    for panel, sides in ((left, (True, True)), (right, (False, True))):
        light = brightness(panel) > dark
        assert (light[:, :half].any(), light[:, half:].any()) == sides
    gap = np.asarray(samples_picture(model, data))[:, SIDE : SIDE + plane.GAP]
    assert (gap == 255).all()


def test_a_histogram_counts(small: None) -> None:
    # Two heaps of which one is three times the other: so much brighter, on a scale whose ends are known.
    heaps = [torch.tensor([[-1.0, -1.0]]).repeat(3000, 1), torch.tensor([[1.0, 1.0]]).repeat(1000, 1)]
    left, _ = panels_of(samples_picture(built("gaussian"), torch.cat(heaps)))
    shades = sorted(set(brightness(left).ravel()))
    assert len(shades) == 3
    colours = plane.COLOURS.sum(1)
    third = np.interp(5 / 3, np.arange(6), colours)
    assert shades == pytest.approx([colours[0], third, colours[-1]], abs=3)


@each_prior
def test_points_keep_their_colours_on_the_way(small: None, name: str) -> None:
    model, num = built(name), 12
    panels = panels_of(flow_picture(model, num, seed=3))
    assert len(panels) == {"gaussian": 1, "planar": 4, "maf": 3, "iaf": 3, "cnf": 6}[name]
    background = tuple(plane.COLOURS[0].astype(int))
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(3))
    expected = []
    for x, y in noise.tolist():
        strength = min(1.0, math.hypot(x, y) / 2)
        expected.append(255 * np.array(colorsys.hsv_to_rgb(math.atan2(y, x) / (2 * math.pi) % 1, strength, 1.0)))
    for panel in panels:
        pixels = np.asarray(panel)
        dots = pixels[(pixels != background).any(-1)].astype(float)
        distances = np.abs(dots[:, None] - np.array(expected)[None]).max(-1)
        # Two that share a pixel share its colour: rare among so few.
        assert num - 1 <= len(dots) <= num
        assert (distances.min(0) <= 1).sum() >= num - 2
    # From noise to data: the ends are where the model says.
    data = model.decode(noise)
    for panel, places in ((panels[0], data if name == "gaussian" else noise), (panels[-1], data)):
        centre, radius = plane._frame(places)
        pixels = np.asarray(panel).astype(float)
        columns, rows = (((places - centre) / radius * 0.5 + 0.5) * SIDE).long().unbind(1)
        close = np.abs(pixels[SIDE - 1 - rows.numpy(), columns.numpy()] - np.array(expected)).max(-1) <= 1
        assert close.sum() >= num - 2


def test_a_long_flow_is_shown_in_six_panels(small: None) -> None:
    torch.manual_seed(0)
    model = PlaneModel(partial(PlanarPrior, num_layers=12))
    model.initialize(points_at((0.0, 0.0)))
    panels = [np.asarray(panel) for panel in panels_of(flow_picture(perturb(model), 500))]
    assert len(panels) == 6
    assert all(not np.array_equal(one, other) for one, other in pairwise(panels))


def test_a_continuous_flow_passes_through_the_times_between(small: None) -> None:
    model = perturb(built("cnf"), seed=5, size=0.8)
    (flow,) = (part for part in model.flow.modules() if isinstance(part, ContinuousFlow))
    noise = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    middle = flow.inverse(noise)[0]
    for start, end in ((0.0, 0.2), (0.2, 0.4)):
        middle = flow.between(middle, start, end)[0]
    middle = middle.detach()
    panel = panels_of(flow_picture(model, 50))[3]
    centre, radius = plane._frame(middle)
    columns, rows = (((middle - centre) / radius * 0.5 + 0.5) * SIDE).long().unbind(1)
    lit = brightness(panel)[SIDE - 1 - rows.numpy(), columns.numpy()] > 200
    assert lit.mean() > 0.9


@each_prior
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_prior_is_drawn_and_left_as_it_was(small: None, name: str, dtype: torch.dtype) -> None:
    model, points = built(name).to(dtype), points_at((1.0, 2.0), num=3000)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state, training = torch.get_rng_state(), model.training
    for _ in range(2):
        drawn = [density_picture(model, points), samples_picture(model, points), flow_picture(model, 300)]
        for picture in drawn:
            assert brightness(picture).std() > 5
    again = [density_picture(model, points), samples_picture(model, points), flow_picture(model, 300)]
    assert all(one.tobytes() == other.tobytes() for one, other in zip(drawn, again, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training == training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_seed_is_other_noise(small: None) -> None:
    model, points = built("maf"), points_at((1.0, 2.0))
    assert samples_picture(model, points, seed=1).tobytes() != samples_picture(model, points, seed=2).tobytes()
    assert flow_picture(model, 100, seed=1).tobytes() != flow_picture(model, 100, seed=2).tobytes()
