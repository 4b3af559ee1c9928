"""Each figure has one line of verdict."""

from typing import Any

import pytest

from glow_app.evaluation import verdict


@pytest.mark.parametrize(
    ("png", "drawn", "nearer", "num", "words"),
    [
        (4.0, (0.85, 0.84), 0.5, 99, ["learnt what", "none suspected; in 50% ± 11% of"]),
        (3.1, (0.85, 0.84), 0.7, 99, ["not learnt much", "copies: suspected, see neighbours.png; in 70% ± 11% of"]),
        (4.0, (0.85, 0.84), 0.7, 8, ["none suspected"]),
        (4.0, (0.5, 0.84), 0.5, 99, ["many samples resemble no real"]),
        (4.0, (0.85, 0.5), 0.5, 99, ["samples vary less"]),
    ],
)
def test_each_figure_has_a_line(
    png: float, drawn: tuple[float, float], nearer: float, num: int, words: list[str]
) -> None:
    record: dict[str, Any] = {
        "bits_per_dim": {"one_draw": {"mean": 3.0}, "png": png},
        "comparisons": {
            "drawn": {"precision": drawn[0], "recall": drawn[1]},
            "training_images": {"precision": 0.88, "recall": 0.86},
        },
        "nearest": {"features": 0.5, "pixels": nearer, "drawn_images": 99, "held_out_images": num},
        "reconstruction": {"exact_images": 0.99, "max_pixel_error": 1},
    }
    lines = verdict(record)
    assert len(lines) == 4
    assert all(any(word in line for line in lines) for word in words)
