"""How much of what is drawn looks real, and how much of what is real is drawn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.evaluation.checks import check_features
from glow_app.evaluation.neighbours import Neighbours, distances

__all__ = ["PrecisionRecall", "precision_recall"]

PART = 1024  # rows at a time


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall.

    Args:
        precision: Share of drawn images inside the real ones' region: how real they look.
        recall: Share of real images inside the drawn ones' region: how much of the data is drawn.
        num_neighbours: The k whose distance is the radius around an image.
    """

    precision: float
    recall: float
    num_neighbours: int


def precision_recall(real: Tensor, drawn: Tensor, num_neighbours: int = 3) -> PrecisionRecall:
    r"""Return improved precision and recall.

    The region of a set is the union of balls around its features, each as wide as the distance to its k-th nearest
    neighbour within the set:

    .. math:: \text{precision} = \frac{1}{M} \left|\{y : \exists x\ \|y - x\| \le r_k(x)\}\right|

    and recall the same with both sets exchanged. Both depend on how many images there are, and mean most where there
    are as many of either.

    Args:
        real: (N, F).
        drawn: (M, F).
        num_neighbours: The number k.
    Raises:
        ValueError: If there are no k + 1 of either, their widths differ, or one is not finite.
    References:
        Kynkäänniemi et al. 2019, arXiv:1904.06991.
    """
    check_features(real, drawn, num_neighbours + 1)
    precision, recall = (
        _share_inside(points, centres, _radii(centres, num_neighbours))
        for points, centres in ((drawn, real), (real, drawn))
    )
    return PrecisionRecall(precision, recall, num_neighbours)


def _radii(features: Tensor, num_neighbours: int) -> Tensor:
    # The nearest of all is the image itself.
    return Neighbours(features, num_neighbours + 1).update_all(features.split(PART)).distances[:, -1]


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    balls = list(zip(centres.split(PART), radii.split(PART), strict=True))
    inside = [
        torch.stack([(distances(part, centre) <= radius).any(dim=1) for centre, radius in balls]).any(dim=0)
        for part in points.split(PART)
    ]
    return float(torch.cat(inside).double().mean())
