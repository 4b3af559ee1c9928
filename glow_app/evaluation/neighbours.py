"""Nearest neighbours among many images, batch by batch; and whether a model copies its training images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data import ImageSet
from glow_app.evaluation.batches import batches, features_of
from glow_app.evaluation.features import FeatureExtractor


class Neighbours:
    """The k nearest neighbours among references that come in batches and are not kept.

    Args:
        queries: Features to find neighbours of, (N, F).
        num: The number k.
    Attributes:
        distances: To the neighbours, nearest first, (N, k), float64; to an equal row up to 1e-7 of its norm, by
            rounding. Fewer than k until k references have come.
        indices: Numbers of the neighbours, in the order in which the references came, (N, k).
    """

    def __init__(self, queries: Tensor, num: int) -> None:
        self.queries = queries.double()
        self.num = num
        self.distances = torch.zeros(len(queries), 0, dtype=torch.float64)
        self.indices = torch.zeros(len(queries), 0, dtype=torch.int64)
        self._seen = 0

    def update(self, references: Tensor) -> None:
        """Take a batch of references, (M, F), into account."""
        numbers = torch.arange(self._seen, self._seen + len(references)).expand(len(self.queries), -1)
        self._seen += len(references)
        candidates = torch.cat([self.distances, torch.cdist(self.queries, references.double())], dim=1)
        self.distances, chosen = candidates.topk(min(self.num, candidates.shape[1]), dim=1, largest=False)
        self.indices = torch.cat([self.indices, numbers], dim=1).gather(1, chosen)


@dataclass(frozen=True)
class Nearness:
    r"""How close generated images are to the training images, compared with held-out images.

    Args:
        drawn: Median distance of a generated image to its nearest training image.
        held_out: Median distance of a held-out image to its nearest training image.
        nearer: How often a generated image is nearer to its nearest training image than a held-out image is,
            :math:`P(d_\text{drawn} < d_\text{held out})`, ties counted half: 1/2 is ideal, 1 means copies, and 0 means
            far from everything real.
    References:
        Meehan et al. 2020, arXiv:2004.05675, for ``nearer``.
    """

    drawn: float
    held_out: float
    nearer: float


def nearness(drawn: Tensor, held_out: Tensor) -> Nearness:
    """Compare the distances to the nearest training image, (N,) of generated and (M,) of held-out images."""
    differences = held_out[None] - drawn[:, None]
    nearer = (differences > 0).double().mean() + 0.5 * (differences == 0).double().mean()
    return Nearness(float(drawn.median()), float(held_out.median()), float(nearer))


class TrainingNeighbours:
    """The nearest training images of some images, by features and by pixels.

    The training images are read once, in batches, and not kept.

    Args:
        images: Images to find neighbours of, uint8 (N, C, H, W).
        train: The training images.
        extract: The feature extractor; None to compare pixels alone.
        num: Number of neighbours of each image.
        batch_size: Training images at a time.
    Attributes:
        by_features: Distances in the extractor's own unit; None without an extractor.
        by_pixels: Distances as the root of the mean square, in grey levels of 255.
    """

    def __init__(
        self, images: Tensor, train: ImageSet, extract: FeatureExtractor | None, num: int = 4, batch_size: int = 64
    ) -> None:
        self.by_features = None if extract is None else Neighbours(features_of(images.split(batch_size), extract), num)
        self.by_pixels = Neighbours(_pixels(images), num)
        for part, _ in batches(train, batch_size, "looking for copies"):
            if self.by_features is not None and extract is not None:
                self.by_features.update(extract(part))
            self.by_pixels.update(_pixels(part))


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1).double() / images[0].numel() ** 0.5
