"""How like real images the drawn ones are, by their features."""

from dataclasses import dataclass

from torch import Tensor

from glow_app.evaluation.distances import KernelDistance, frechet_distance, kernel_distance
from glow_app.evaluation.precision_recall import PrecisionRecall, precision_recall

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """Three comparisons of the same features.

    Args:
        fid: See :func:`frechet_distance`.
        kid: See :func:`kernel_distance`.
        precision_recall: See :func:`precision_recall`.
    """

    fid: float
    kid: KernelDistance
    precision_recall: PrecisionRecall


def compare(real: Tensor, drawn: Tensor, seed: int = 0) -> Comparison:
    """Compare features of real images, (N, F), and of drawn ones, (M, F).

    Args:
        real: From one extractor.
        drawn: From the same.
        seed: Of KID's choice of subsets.
    Raises:
        ValueError: If there are fewer than 4 of either, their widths differ, or one is not finite.
    """
    return Comparison(frechet_distance(real, drawn), kernel_distance(real, drawn, seed), precision_recall(real, drawn))
