"""What the figures of an evaluation are in words."""

from copy import deepcopy
from typing import Any

import pytest

from glow_app.evaluation import restoration_verdict, verdict


def compared(precision: float, recall: float, fid: float) -> dict[str, Any]:
    return {"fid": fid, "precision_recall": {"precision": precision, "recall": recall, "num_neighbours": 3}}


GOOD: dict[str, Any] = {
    "data": {"source": "fashion_mnist", "as_in_training": True, "images": 1000},
    "bits_per_dim": {"one_draw": {"mean": 3.0}, "png": 4.0},
    "samples": {"temperature": 1.0},
    "comparisons": {
        "drawn": compared(0.85, 0.84, 0.02),
        "training_images": compared(0.88, 0.86, 0.01),
        "training_images_compared": 1000,
    },
    "nearest": {"features": {"nearer": 0.5}, "pixels": {"nearer": 0.45}, "training_images": 54000},
    "inverse": {"reconstruction": {"exact_images": 1.0, "max_pixel_error": 0}},
}
WORDS = [
    "The model has learnt what held-out images have in common: 3.00 bits/dim, where a PNG of them takes 4.00.",
    "By their features, samples resemble real images (precision 0.85 of 0.88) and vary as much (recall 0.84 of 0.86).",
    "There is no sign of copies among 54,000 training images; the inverse is exact: every image came back in every "
    "pixel.",
    "Next: use it (glow sample, glow edit, glow score), or share it (glow export).",
]


def test_a_good_model() -> None:
    assert verdict(GOOD) == WORDS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data.as_in_training": False}, {0: "has learnt what these images have in common"}),
        ({"bits_per_dim.png": 3.1}, {0: "has not learnt much of held-out images yet: 3.00", 3: "Next: train longer"}),
        (
            {"comparisons.drawn": compared(0.5, 0.84, 0.02)},
            {1: "samples often resemble none (precision 0.50", 3: "--tune"},
        ),
        ({"comparisons.drawn": compared(0.75, 0.5, 0.02)}, {1: "mostly resemble real images (precision 0.75 of 0.88)"}),
        ({"comparisons.drawn": compared(0.85, 0.5, 0.02)}, {1: "vary much less (recall 0.50 of 0.86).", 3: "--tune"}),
        (
            {"comparisons.drawn": compared(0.85, 0.5, 0.02), "samples.temperature": 0.7},
            {3: "Next: use it (glow sample"},
        ),
        (
            {"comparisons.drawn": compared(0.85, 0.84, 0.9)},
            {1: "; their FID of 0.90, for real images 0.01, still tells them apart."},
        ),
        ({"comparisons.training_images": None}, {1: "(precision 0.85) and vary less (recall 0.84)."}),
        ({"comparisons": None}, {1: "was not measured: look at them", 3: "look at samples (glow sample)"}),
        ({"nearest": None}, {2: "Whether it copies is not known without the training images; the inverse is exact"}),
        ({"nearest.pixels.nearer": 0.7}, {2: "suspiciously near to some of 54,000 training", 3: "more pictures"}),
        (
            {"inverse.reconstruction": {"exact_images": 0.98, "max_pixel_error": 7}},
            {2: "the inverse is not exact: 2.0% of images came back changed, by up to 7 of 255.", 3: "do not rely on"},
        ),
    ],
)
def test_what_changes_with_the_figures(changes: dict[str, Any], words: dict[int, str]) -> None:
    record = deepcopy(GOOD)
    for place, value in changes.items():
        *names, last = place.split(".")
        part = record
        for name in names:
            part = part[name]
        part[last] = value
    found = verdict(record)
    assert len(found) == len(WORDS)
    for number, text in words.items():
        assert text in found[number]


def restored(mean: float, zero: float, **others: Any) -> dict[str, Any]:
    kinds = {"given": ("bicubic enlargement", 0.0), "zero": ("draw at temperature 0", zero)}
    kinds |= {"mean": ("mean of 8 draws", mean), **others}
    return {
        "restorations": {kind: {"name": name, "gain": {"mean": gain}} for kind, (name, gain) in kinds.items()},
        "samples": {"temperature": 1.0, "all": 3200},
        "within": [0.5, 0.88],
        "agree": 1.0,
        "exploded": 0,
    }


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (
            restored(1.37, 1.52),
            [
                "The mean of 8 draws is 1.4 dB above the bicubic enlargement, a draw at temperature 0 1.5 dB above.",
                "The intervals of draws are honest: those of 90% hold 88% of the true values.",
                "Next: use it (glow restore), or share it (glow export).",
            ],
        ),
        (
            restored(-0.5, 0.1, classical=("non-local means", 2.0)),
            ["is 0.5 dB below the bicubic enlargement, a draw at temperature 0 0.1 dB above; non-local means is", "",
             "train longer"],
        ),
        (restored(1.0, 1.0) | {"agree": 0.875}, ["", "", "do not rely on what is known of the pictures: 12.50% of"]),
        (restored(1.0, 1.0) | {"exploded": 3}, ["", "; 3 draws of 3,200 exploded in places", "use it"]),
        (restored(1.0, 1.0) | {"within": [0.3, 0.7]}, ["", "too narrow: those of 90% hold 70%", "train longer"]),
        (
            restored(1.0, 1.0) | {"within": [0.3, 0.7], "samples": {"temperature": (0.7, 1.0), "all": 3200}},
            ["", "--temperature 1 measures the model's own distribution.", "use it"],
        ),
        (restored(1.0, 1.0) | {"within": [0.8, 0.99]}, ["", "too wide: those of 90% hold 99%", "use it"]),
    ],
)  # fmt: skip
def test_what_is_said_of_restorations(record: dict[str, Any], words: list[str]) -> None:
    found = restoration_verdict(record)
    assert len(found) == len(words)
    for sentence, text in zip(found, words, strict=True):
        assert text in sentence
