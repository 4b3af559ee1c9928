"""Whether a model copies: the nearest training images of what it draws."""

from dataclasses import dataclass

from torch import Tensor

from glow_app.data import ImageSet
from glow_app.evaluation.batches import batches, features_of
from glow_app.evaluation.features import FeatureExtractor
from glow_app.evaluation.neighbours import Neighbours

__all__ = ["Nearness", "TrainingNeighbours", "nearness"]


@dataclass(frozen=True)
class Nearness:
    r"""How near to the training images the drawn ones are, beside held-out ones.

    Args:
        drawn: Median distance of a drawn image to its nearest training image.
        held_out: The same of a held-out image.
        nearer: How often a drawn image is nearer to its nearest training image than a held-out one to its own,
            :math:`P(d_\text{drawn} < d_\text{held out})`, ties half: one half is ideal, 1 are copies, and 0 is far from
            all that is real.
    References:
        Meehan et al. 2020, arXiv:2004.05675, whose statistic is the last one.
    """

    drawn: float
    held_out: float
    nearer: float


def nearness(drawn: Tensor, held_out: Tensor) -> Nearness:
    """Return what two sets of distances to the nearest training image say, (N,) and (M,)."""
    differences = held_out[None] - drawn[:, None]
    nearer = (differences > 0).double().mean() + 0.5 * (differences == 0).double().mean()
    return Nearness(float(drawn.median()), float(held_out.median()), float(nearer))


class TrainingNeighbours:
    """The nearest training images of some images, by features and by pixels.

    The training images are read once, a part at a time, and none are kept.

    Args:
        images: Whose neighbours are sought, uint8 (N, C, H, W).
        train: The training images.
        extract: Of the features.
        num: Neighbours of each image.
        batch_size: Training images at a time.
    Attributes:
        by_features: Distances in the extractor's own unit.
        by_pixels: Distances as the root of the mean square, in grey levels of 255.
    """

    def __init__(
        self, images: Tensor, train: ImageSet, extract: FeatureExtractor, num: int = 4, batch_size: int = 64
    ) -> None:
        self.by_features = Neighbours(features_of(images.split(batch_size), extract), num)
        self.by_pixels = Neighbours(_pixels(images), num)
        for part, _ in batches(train, batch_size):
            self.by_features.update(extract(part))
            self.by_pixels.update(_pixels(part))


def _pixels(images: Tensor) -> Tensor:
    return images.flatten(1).double() / images[0].numel() ** 0.5
