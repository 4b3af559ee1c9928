from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from registry import perturb
from torch import Tensor

from glow_app.bijections import Bijection
from glow_app.evaluation import points as points_pictures
from glow_app.evaluation.points import density_picture, flow_picture, samples_picture
from glow_app.models.points_model import PointsModel
from glow_app.priors import CNFPrior, GaussianPrior, IAFPrior, PlanarPrior

SIDE = 80
PRIORS: dict[str, Callable[..., Bijection]] = {
    "gaussian": GaussianPrior,
    "planar": partial(PlanarPrior, num_layers=12),
    "iaf": partial(IAFPrior, hidden_features=8, elementwise="spline"),
    "cnf": partial(CNFPrior, hidden_features=6, solver="rk4", num_steps=4, eval_solver="rk4"),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points_pictures, "SIDE", SIDE)


def points_at(*centres: tuple[float, float], num: int = 500) -> Tensor:
    noise = torch.randn(num, 2, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.tensor(centre) + 0.2 * noise for centre in centres])


def built(name: str, centre: tuple[float, float] = (1.0, 2.0), size: float = 0.0) -> PointsModel:
    torch.manual_seed(0)
    model = PointsModel(PRIORS[name]).eval()
    model.initialize(points_at(centre))
    perturb(model.flow.bijections[2], seed=1, size=size)
    return model


def panels_of(picture: Image.Image) -> list[np.ndarray]:
    """Return the squares of a row, which a gap of white separates."""
    count = round((picture.width + points_pictures.GAP) / (SIDE + points_pictures.GAP))
    starts = [index * (SIDE + points_pictures.GAP) for index in range(count)]
    assert picture.size == (starts[-1] + SIDE, SIDE)
    return [np.asarray(picture.crop((start, 0, start + SIDE, SIDE))).astype(int) for start in starts]


def brightest(panel: np.ndarray) -> list[float]:
    """Return the middle of the brightest pixels, from -1 at the left and at the bottom to 1."""
    light = panel.sum(-1)
    rows, columns = np.nonzero(light >= light.max() - 3)
    return [(columns.mean() + 0.5) / SIDE * 2 - 1, 1 - (rows.mean() + 0.5) / SIDE * 2]


@pytest.mark.parametrize("centre", [(3.0, 0.0), (0.0, -3.0)], ids=str)
def test_right_is_right_and_up_is_up(centre: tuple[float, float]) -> None:
    model, frame = built("gaussian", centre), points_at((-4.0, -4.0), (4.0, 4.0))
    (density,) = panels_of(density_picture(model, frame))
    data, samples = panels_of(samples_picture(model, torch.cat([frame, points_at(centre, num=5000)])))
    for shown in (density, data, samples):  # the frame reaches to 5.3 or so
        assert brightest(shown) == pytest.approx([value / 5.3 for value in centre], abs=0.08)


@pytest.mark.parametrize(("name", "count"), [("gaussian", 1), ("planar", 6), ("iaf", 3), ("cnf", 6)])
def test_points_flow_from_noise_to_data_and_the_model_is_left_as_it_was(name: str, count: int) -> None:
    model = built(name, size=0.3)
    before, state = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    pictures = [flow_picture(model, 400) for _ in range(2)]
    assert pictures[0].tobytes() == pictures[1].tobytes() != flow_picture(model, 400, seed=1).tobytes()
    panels = panels_of(pictures[0])
    assert len(panels) == count
    assert all(panel.sum(-1).std() > 5 for panel in panels)
    # The last panel has the points that the model decodes, in their own frame.
    noise = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        points = model.flow.inverse(noise)[0]
    centre, radius = points_pictures._frame(points)
    columns, rows = (((points - centre) / radius * 0.5 + 0.5) * SIDE).long().clamp(0, SIDE - 1).unbind(1)
    lit = panels[-1].sum(-1)[SIDE - 1 - rows.numpy(), columns.numpy()] > 200
    assert lit.mean() > 0.9
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
