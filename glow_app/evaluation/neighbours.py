"""Nearest neighbours in batches, and whether a model copies its training images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import batches
from glow_app.evaluation.features import FeatureExtractor


class Neighbours:
    """The k nearest neighbours among references that are processed in batches and not stored.

    Args:
        queries: Features to find neighbours of, (N, F).
        num: The number k.
    Attributes:
        distances: Distances to the neighbours, nearest first, (N, k), float64; fewer columns before k references.
            Rounding gives equal rows distances of up to 1e-7 of their norm.
        indices: Indices of the neighbours among all references in order, (N, k).
    """

    def __init__(self, queries: Tensor, num: int) -> None:
        self.queries = queries.double()
        self.num = num
        self.distances = torch.zeros(len(queries), 0, dtype=torch.float64)
        self.indices = torch.zeros(len(queries), 0, dtype=torch.int64)
        self._seen = 0

    def update(self, references: Tensor) -> None:
        """Add a batch of references, (M, F)."""
        positions = torch.arange(self._seen, self._seen + len(references)).expand(len(self.queries), -1)
        self._seen += len(references)
        candidates = torch.cat([self.distances, torch.cdist(self.queries, references.double())], dim=1)
        self.distances, columns = candidates.topk(min(self.num, candidates.shape[1]), dim=1, largest=False)
        self.indices = torch.cat([self.indices, positions], dim=1).gather(1, columns)


@dataclass(frozen=True)
class Nearness:
    r"""How close generated images are to the training images, compared with held-out images.

    Args:
        drawn: Median distance of a generated image to its nearest training image.
        held_out: Median distance of a held-out image to its nearest training image.
        nearer: Probability that a generated image is nearer to its nearest training image than a held-out image is to
            its own, :math:`P(d_\text{drawn} < d_\text{held out})`, with ties counted half: 1/2 is ideal, 1 means
            copies, and 0 means far from everything real.
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


def nearest_training_images(
    drawn: Tensor,
    held_out: Tensor,
    train: ImageSet,
    extract: FeatureExtractor | None,
    batch_size: int = 64,
    num: int = 4,
    num_shown: int = 8,
) -> dict[str, tuple[Nearness, Tensor]]:
    """Return how near samples are to training images, and the nearest of the first samples, uint8 (n, K, C, H, W).

    Both are by distance of "features", and of "pixels": the root-mean-square difference in grey levels of 255. The
    training images are read once, in batches, and not stored.

    Args:
        drawn: Samples, uint8 (N, C, H, W).
        held_out: Held-out images, whose distances are compared with theirs, uint8 (M, C, H, W).
        extract: The feature extractor; None to compare only pixels.
        num: The number K of neighbours of each image.
        num_shown: The number n of samples whose neighbours are returned.
    """
    spaces: dict[str, Callable[[Tensor], Tensor]] = {} if extract is None else {"features": extract}
    spaces["pixels"] = _pixels
    images = torch.cat([drawn, held_out]).split(batch_size)
    neighbours = {name: Neighbours(torch.cat([*map(space, images)]), num) for name, space in spaces.items()}
    for part, _ in batches(train, batch_size, "looking for copies"):
        for name, space in spaces.items():
            neighbours[name].update(space(part))
    nearest = {}
    for name, ranked in neighbours.items():
        rows = ranked.indices[:num_shown]
        shown, _ = train.__getitems__(rows.flatten().tolist())
        distances = ranked.distances[:, 0].split([len(drawn), len(held_out)])
        nearest[name] = nearness(*distances), shown.unflatten(0, rows.shape)
    return nearest


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1).double() / images[0].numel() ** 0.5
