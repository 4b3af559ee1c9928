"""The log-likelihood of a density of points in the plane."""

from collections.abc import Mapping
from typing import Any

from glow_app.bijections import record_solves
from glow_app.data.splits import Split
from glow_app.data.toys import TOYS, load_points
from glow_app.evaluation.bits import estimated_trace_note
from glow_app.models import PointsModel
from glow_app.seeding import step_generator

_AT_A_TIME = 2048  # points in a batch


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
