"""The measurements of restorations as plain types, and what they mean."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from glow_app.messages import pluralise
from glow_app.models.image_model import ImageModel
from glow_app.restoration.measures import INTERVALS, RestorationFigures
from glow_app.restoration.restoring import require_task

WELL_CALIBRATED = (0.8, 0.97)  # accepted shares of true values in 90 % intervals of draws


def restoration_record(
    model: ImageModel, figures: RestorationFigures, temperature: float | Sequence[float], count: int
) -> dict[str, Any]:
    """Return the figures of restorations as plain types, with their names.

    Args:
        model: The model that was measured.
        figures: Its figures.
        temperature: The temperature of the draws.
        count: Number of draws in a mean.
    """
    task = require_task(model)
    names = {"base": task.condition_name, "classical": task.classical_name, "draw": "single draw"}
    names |= {"zero": "draw at temperature 0", "mean": f"mean of {pluralise(count, 'draw')}"}
    return {
        "task": {"name": type(task).__name__, **task.config},
        "samples": {"temperature": temperature, "count": count, "all": figures.draws},
        "restorations": {kind: {"name": names[kind], **asdict(quality)} for kind, quality in figures.qualities.items()},
        "intervals": list(INTERVALS),
        **{name: getattr(figures, name) for name in ("within", "agree", "exploded")},
    }


def restoration_verdict(record: Mapping[str, Any]) -> list[str]:
    """Return whether the intervals of draws hold as many of the true values as they should.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate`` for a restoration model.
    """
    share, (least, most) = record["within"][-1], WELL_CALIBRATED
    words = "too narrow" if share < least else "too wide" if share > most else "well calibrated"
    temperature = record["samples"]["temperature"]
    if share < least and min([temperature] if isinstance(temperature, (int, float)) else temperature) < 1:
        words += ", as is usual below temperature 1"
    return [f"intervals of draws: {words} (those of 90% hold {share:.0%} of the true values)"]
