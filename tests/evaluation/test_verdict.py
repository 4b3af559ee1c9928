from copy import deepcopy
from typing import Any

import pytest

from glow_app.evaluation import restoration_verdict, verdict

GOOD: dict[str, Any] = {
    "bits_per_dim": {"one_draw": {"mean": 3.0}, "png": 4.0},
    "comparisons": {
        "drawn": {"precision": 0.85, "recall": 0.84},
        "training_images": {"precision": 0.88, "recall": 0.86},
    },
    "nearest": {"features": {"nearer": 0.5}, "pixels": {"nearer": 0.45}},
}


@pytest.mark.parametrize(
    ("part", "change", "changed"),
    [
        ("bits_per_dim", {"png": 3.1}, "bits/dim: not learnt much yet (97% of a PNG)"),
        ("comparisons", {"drawn": {"precision": 0.5, "recall": 0.84}}, "precision: samples often resemble no real"),
        ("comparisons", {"drawn": {"precision": 0.85, "recall": 0.5}}, "recall: samples vary less"),
        ("comparisons", {"training_images": {}}, "precision: samples often resemble no real image (85% of theirs)"),
        ("nearest", {"pixels": {"nearer": 0.7}}, "copies: suspected"),
    ],
)
def test_each_figure_has_a_line(part: str, change: dict[str, Any], changed: str) -> None:
    assert verdict(GOOD)[::3] == ["bits/dim: learnt what the images have in common (75% of a PNG)",
                                  "copies: no sign of any"]  # fmt: skip
    record = deepcopy(GOOD)
    record[part] |= change
    assert any(line.startswith(changed) for line in verdict(record))
    assert len(verdict(record | {"comparisons": None, "nearest": None})) == 1


@pytest.mark.parametrize(
    ("within", "temperature", "words"),
    [(0.88, 0.7, "honest ("), (0.99, 1.0, "too wide"), (0.7, 1.0, "too narrow ("),
     (0.7, (0.7, 1.0), "too narrow, as is usual")],
)  # fmt: skip
def test_intervals_of_draws_are_judged(within: float, temperature: Any, words: str) -> None:
    (line,) = restoration_verdict({"within": [0.5, within], "samples": {"temperature": temperature}})
    assert line.startswith(f"intervals of draws: {words}")
