"""How well scores tell odd images from ordinary ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.generation.score import Measures, Typical, oddities

__all__ = ["Detection", "detect"]


@dataclass(frozen=True)
class Detection:
    """How well one score does.

    Args:
        ordinary: The score of ordinary images, (N,).
        odd: The score of odd ones, (M,).
        auroc: Area under the receiver operating characteristic: the chance that an odd image has the higher score;
            one half is a coin.
        aupr: Area under the curve of precision and recall, with odd as positive; the share of odd images is a coin.
    """

    ordinary: Tensor
    odd: Tensor
    auroc: float
    aupr: float


def detect(ordinary: Measures, odd: Measures) -> dict[str, Detection]:
    """Return how well each score of :func:`oddities` finds odd images.

    The first half of the ordinary images tells what is usual; the odd ones are told from the second half.

    Args:
        ordinary: Measures of ordinary images, at least 4.
        odd: Measures of odd images.
    Raises:
        ValueError: If there are too few.
    """
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    half = len(ordinary) // 2
    typical = Typical.of(ordinary[:half])
    good, bad = oddities(ordinary[half:], typical), oddities(odd, typical)
    target = torch.cat([torch.zeros(len(ordinary) - half), torch.ones(len(odd))]).long()
    found = {}
    for name in good:
        # Ranks, since torchmetrics takes other numbers for logits, and rounds them together.
        _, ranks = torch.cat([good[name], bad[name]]).unique(return_inverse=True)
        scores = ranks.double() / len(target)
        auroc, aupr = binary_auroc(scores, target), binary_average_precision(scores, target)
        found[name] = Detection(good[name], bad[name], float(auroc), float(aupr))
    return found
