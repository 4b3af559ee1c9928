"""Nearest neighbours in batches, and whether a model copies its training images."""

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import batches
from glow_app.evaluation.features import FeatureExtractor

_NUM = 4  # nearest training images of each; pairs and mirrored ones are fewer
Ranked = tuple[Tensor, Tensor]  # distances to the k nearest references, nearest first, and their indices, (N, k)


def nearest(distances: Tensor, best: Ranked | None, first: int, num: int) -> Ranked:
    """Return the nearest references of N queries among those so far and a further batch.

    Args:
        distances: Distances to the references of the batch, (N, M).
        best: The nearest so far; None before the first batch.
        first: Index of the first reference of the batch.
        num: The number k; fewer are returned as long as there are fewer references.
    """
    indices = torch.arange(first, first + distances.shape[1]).expand(len(distances), -1)
    if best is not None:
        distances, indices = torch.cat([best[0], distances], dim=1), torch.cat([best[1], indices], dim=1)
    distances, columns = distances.topk(min(num, distances.shape[1]), dim=1, largest=False)
    return distances, indices.gather(1, columns)


def nearness(drawn: Tensor, held_out: Tensor) -> float:
    r"""Return how often a generated image is nearer to a single training image than a held-out image is.

    Distances are relative, :math:`r = d_1 / d_k`, to the nearest training image by that to the k-th: a copy is near to
    one of them alone, but a pale or blurred image is about as near to all, nearer than images are to each other.
    Ties count half, :math:`P(r_\text{drawn} < r_\text{held out})`: 1/2 is ideal, and 1 means copies.

    Args:
        drawn: Distances of generated images to the k nearest training images, nearest first, (N, k).
        held_out: The same of held-out images, (M, k).
    References:
        The comparison: Meehan et al. 2020, arXiv:2004.05675.
    """
    drawn, held_out = (each[:, 0] / each[:, -1].clamp(min=1e-12) for each in (drawn, held_out))
    differences = held_out[None] - drawn[:, None]
    return float((differences > 0).double().mean() + 0.5 * (differences == 0).double().mean())


def nearest_training_images(
    drawn: Tensor,
    held_out: Tensor,
    train: ImageSet,
    extract: FeatureExtractor,
    batch_size: int = 64,
    num_shown: int = 8,
) -> dict[str, tuple[float, Tensor]]:
    """Return the :func:`nearness` of samples, and the training images nearest to the first, uint8 (n, 4, C, H, W).

    Both are by distance of "features", and of "pixels": the root-mean-square difference in grey levels of 255. The
    training images are read once, in batches, and not stored.

    Args:
        drawn: Samples, uint8 (N, C, H, W).
        held_out: Held-out images, whose distances are compared with theirs, uint8 (M, C, H, W).
        num_shown: The number n of samples whose neighbours are returned.
    """
    spaces: dict[str, Callable[[Tensor], Tensor]] = {"features": extract, "pixels": _pixels}
    images = torch.cat([drawn, held_out]).split(batch_size)
    queries = {name: torch.cat([*map(space, images)]).double() for name, space in spaces.items()}
    best: dict[str, Ranked] = {}
    starts = count(0, batch_size)
    for first, (part, _) in zip(starts, batches(train, batch_size, "looking for copies"), strict=False):
        for name, space in spaces.items():
            # Rounding gives equal rows distances of up to 1e-7 of their norm.
            distances = torch.cdist(queries[name], space(part).double())
            best[name] = nearest(distances, best.get(name), first, _NUM)
    neighbours = {}
    for name, (distances, indices) in best.items():
        rows = indices[:num_shown]
        shown, _ = train.__getitems__(rows.flatten().tolist())
        neighbours[name] = nearness(*distances.split([len(drawn), len(held_out)])), shown.unflatten(0, rows.shape)
    return neighbours


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1).double() / images[0].numel() ** 0.5
