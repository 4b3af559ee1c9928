"""A density of points in the plane: its log-likelihood, and pictures of it, its samples, and its flow of points."""

import colorsys
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from glow_app.bijections import ActNorm, Bijection, Chain, ContinuousFlow, Reshape, record_solves
from glow_app.data.splits import Split
from glow_app.data.toys import TOYS, load_points
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.models import PointsModel
from glow_app.priors import GaussianPrior
from glow_app.seeding import step_generator

_AT_A_TIME = 2048  # points in a batch
SIDE = 360  # side of a panel, pixels
GAP = 4
PANELS = 6
CELL = 2  # side of a cell of the density, pixels; evaluating every pixel would take four times as long
BIN = 4  # side of a bin of the histogram, pixels; smaller bins would hold too few points
TOLERANCE = 1e-4  # tolerance of solves, for standardised points: a hundredth of a pixel
# Dark to bright in even steps of lightness, so that twice the density looks twice as bright.
COLOURS = np.array([(8, 8, 24), (66, 20, 106), (148, 42, 112), (223, 88, 70), (252, 172, 62), (250, 248, 200)], float)


def points_report(model: PointsModel, data: Mapping[str, Any], split: Split) -> str:
    """Return in words the mean log-likelihood of a split in nats, and the best possible one.

    Args:
        data: Arguments of :func:`~glow_app.data.toys.load_points`, perhaps among others.
    """
    source, seed = data["source"], data["seed"]
    points = load_points(source, split, seed=seed, limit=data.get("limit")).values
    total = 0.0
    for index, part in enumerate(points.split(_AT_A_TIME)):
        with record_solves(step_generator(seed, index, model.device, "trace-test")):
            total += float(model.log_prob(part).double().sum())
    described = f"{source}, {split} split, {len(points)} points{estimated_trace_note(model, 2)}"
    toy = TOYS[source]
    # On the same points where possible, so that the difference does not depend on their draw.
    of_points = f"{float(toy.log_density(points).mean()):.4f} on these points, " if toy.density else ""
    return (
        f"{total / len(points):.4f} nats  log-likelihood ({described})\n"
        f"best possible: {of_points}{-toy.entropy:.4f} on average"
    )


def density_picture(model: PointsModel, points: Tensor) -> Image.Image:
    """Return a heat map of the density around the points, (N, 2); brighter is denser."""
    centre, radius = _frame(points)
    num = SIDE // CELL
    steps = (torch.arange(num) + 0.5) / num * 2 - 1
    x, y = torch.meshgrid(steps, -steps, indexing="xy")
    grid = centre + radius * torch.stack([x, y], -1).reshape(-1, 2)
    model = _loosened(model)
    log_density = torch.cat([model.log_prob(part.to(model.device)).cpu() for part in grid.split(20_000)])
    return _heat_map(np.kron(log_density.double().exp().reshape(num, num).numpy(), np.ones((CELL, CELL))))


def samples_picture(model: PointsModel, points: Tensor) -> Image.Image:
    """Return histograms of the data, (N, 2), on the left, and of as many samples on the right."""
    frame = _frame(points)
    samples = _loosened(model).sample(len(points), seed=0).cpu()
    panels = []
    for panel in (points, samples):
        (rows, columns), _ = _pixels(panel, *frame)
        counts, _, _ = np.histogram2d(rows, columns, SIDE // BIN, ((0, SIDE), (0, SIDE)))
        panels.append(_heat_map(np.kron(counts, np.ones((BIN, BIN)))))
    return _row(panels)


@torch.no_grad()
def flow_picture(model: PointsModel, num_points: int = 20_000, seed: int = 0) -> Image.Image:
    """Return panels of points flowing from noise to data, left to right, coloured by where they started."""
    noise = torch.randn(num_points, 2, generator=torch.Generator().manual_seed(seed))
    points = noise.to(model.device, model.dtype)
    stages = [points]
    for step, is_stage in _inverse_steps(_loosened(model).flow):
        points = step(points)
        stages[len(stages) - (not is_stage) :] = [points.flatten(1)]
    shown = np.linspace(0, len(stages) - 1, min(PANELS, len(stages))).round().astype(int)
    # A hue by direction, paler towards the centre.
    angle, strength = torch.atan2(noise[:, 1], noise[:, 0]) / (2 * np.pi) % 1, (noise.norm(dim=1) / 2).clamp(0, 1)
    hues = zip(angle.tolist(), strength.tolist(), strict=True)
    colours = 255 * np.array([colorsys.hsv_to_rgb(hue, saturation, 1.0) for hue, saturation in hues])
    return _row([_dots(stages[index].cpu(), colours) for index in shown])


def _loosened(model: PointsModel) -> PointsModel:
    """Return a copy whose solves are only as exact as a picture needs."""
    model = deepcopy(model)
    for part in model.modules():
        if isinstance(part, ContinuousFlow):
            part.eval_tolerances = (TOLERANCE, TOLERANCE)
    return model


def _inverse_steps(bijection: nn.Module) -> Iterator[tuple[Callable[[Tensor], Tensor], bool]]:
    """Yield the steps of a bijection's inverse in order, and whether the result of each deserves a panel."""
    if isinstance(bijection, Chain):
        for part in reversed(bijection.bijections):
            yield from _inverse_steps(part)
    elif isinstance(bijection, ContinuousFlow):
        for start, end in pairwise(np.linspace(1.0, 0.0, PANELS).tolist()):
            yield partial(bijection.move, start=start, end=end), True
    else:
        assert isinstance(bijection, Bijection)
        # The frame follows the points, so a mere shift and scale would look the same as before.
        yield bijection.decode, not isinstance(bijection, (Reshape, ActNorm, GaussianPrior))


def _frame(points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centre and half the side of a square that contains nearly all points."""
    low, high = points.float().quantile(torch.tensor([0.002, 0.998]), dim=0)
    return (low + high) / 2, 0.6 * (high - low).max()


def _pixels(points: Tensor, centre: Tensor, radius: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the n points inside the frame, (2, n), and a mask of these points, (N,)."""
    place = ((points.float() - centre) / radius * 0.5 + 0.5) * SIDE
    inside = ((place >= 0) & (place < SIDE)).all(1)
    columns, rows = place[inside].long().unbind(1)
    return torch.stack([SIDE - 1 - rows, columns]).numpy(), inside.numpy()


def _heat_map(values: np.ndarray) -> Image.Image:
    top = np.quantile(values, 0.999) or 1.0  # a single bright pixel would leave the rest dark
    level = np.clip(values / top, 0, 1) * (len(COLOURS) - 1)
    channels = [np.interp(level, np.arange(len(COLOURS)), COLOURS[:, channel]) for channel in range(3)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def _dots(points: Tensor, colours: np.ndarray) -> Image.Image:
    index, inside = _pixels(points, *_frame(points))
    total, count = np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE, 1))
    np.add.at(total, tuple(index), colours[inside])
    np.add.at(count, tuple(index), 1)
    mean = np.where(count > 0, total / np.maximum(count, 1), COLOURS[0])
    return Image.fromarray(mean.astype(np.uint8))


def _row(panels: list[Image.Image]) -> Image.Image:
    picture = Image.new("RGB", (len(panels) * (SIDE + GAP) - GAP, SIDE), (255, 255, 255))
    for index, panel in enumerate(panels):
        picture.paste(panel, (index * (SIDE + GAP), 0))
    return picture
