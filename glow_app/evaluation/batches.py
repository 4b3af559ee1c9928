"""Images in batches, of a set or of a model, so that there may be more than memory holds; and their features."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from glow_app.data import ImageSet
from glow_app.evaluation.features import FeatureExtractor
from glow_app.generation.sample import Temperature, seeded_batches
from glow_app.models.image_model import ImageModel

__all__ = ["batches", "draw_features", "features_of", "fingerprint"]


def batches(images: ImageSet, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (B, C, H, W), and labels, (B,), in order."""
    for start in range(0, len(images), size):
        yield images.__getitems__(range(start, min(start + size, len(images))))


def features_of(parts: Iterable[Tensor], extract: FeatureExtractor) -> Tensor:
    """Return the features of images that come in parts, (N, F)."""
    return torch.cat([extract(part) for part in parts])


def draw_features(
    model: ImageModel,
    count: int,
    extract: FeatureExtractor,
    *,
    temperature: Temperature = 1.0,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    batch_size: int = 64,
    num_kept: int = 0,
    guidance: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Return the features of drawn images, (N, F), and the first few of the images, uint8 (n, C, H, W).

    Args:
        model: The model.
        count: How many to draw; only the features of all are held at once.
        extract: Of the features.
        temperature: One for all levels, or one a level. At 1 the model's own distribution is judged, and below it
            one that is more orderly and less varied.
        seed: Of the first image.
        labels: Classes that the images take in turn, such as those of all real images; for a class-conditional model.
        batch_size: Images at a time.
        num_kept: How many images to return.
        guidance: As of :func:`~glow_app.generation.sample_batches`. At 1 the model's own distribution is judged.
    """
    features: list[Tensor] = []
    kept: list[Tensor] = []
    for _, images in seeded_batches(model, count, temperature, seed, labels, batch_size, guidance):
        part = images.cpu()
        features.append(extract(part))
        kept.append(part[: max(0, num_kept - sum(map(len, kept)))])
    return torch.cat(features), torch.cat(kept)


def fingerprint(images: ImageSet, size: int = 256) -> str:
    """Return the SHA-256 of all pixels in order: whether two figures are of the same images."""
    digest = hashlib.sha256()
    for part, _ in batches(images, size):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()
