"""What the figures of an evaluation mean, in a line each."""

import math
from collections.abc import Mapping
from typing import Any

from glow_app.evaluation.bits import Exactness
from glow_app.evaluation.faults import faults_in

LEARNT = 0.9  # bits/dim relative to PNG; below, the model has learnt something
ALIKE = 0.9  # precision and recall relative to those of real images; above, they are nearly as high
COPIES = 0.6  # share of comparisons in which a sample is nearer to training images than a held-out image is


def verdict(record: Mapping[str, Any]) -> list[str]:
    """Return what bits/dim, precision, recall and distances to training images mean, and the model's faults.

    Args:
        record: Content of ``evaluation.json`` from ``glow evaluate``.
    """
    bits, png = record["bits_per_dim"]["one_draw"]["mean"], record["bits_per_dim"]["png"]
    learnt = "learnt what the images have in common" if bits < LEARNT * png else "not learnt much yet"
    lines = faults_in(bits, Exactness(**record["reconstruction"]))
    lines = lines or [f"bits/dim: {learnt} ({bits / png:.0%} of a PNG)"]
    drawn, real = record["comparisons"]["drawn"], record["comparisons"].get("training_images", {})
    for name, good, bad in (
        ("precision", "samples resemble real images", "many samples resemble no real image"),
        ("recall", "samples vary as much as real images", "samples vary less than real images"),
    ):
        share = drawn[name] / max(real.get(name, 1.0), 1e-9)
        lines.append(f"{name}: {good if share >= ALIKE else bad} ({share:.0%} of theirs)")
    if (nearest := record["nearest"]) is not None:
        nearer, num_drawn = max(nearest["features"], nearest["pixels"]), nearest["drawn_images"]
        num_held_out = nearest["held_out_images"]
        # The standard error of chance: Mann and Whitney 1947.
        error = math.sqrt((num_drawn + num_held_out + 1) / (12 * num_drawn * num_held_out))
        is_suspect = nearer > max(COPIES, 0.5 + 2 * error)
        copies = "suspected, see neighbours.png" if is_suspect else "none suspected"
        compared = f"in {nearer:.0%} of comparisons, a sample is nearer to the training images than a held-out image is"
        lines.append(f"copies: {copies}; {compared} (50% is ideal, 100% means copies)")
    return lines
