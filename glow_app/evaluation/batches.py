"""Batches of real and sampled images, processed one at a time to bound memory, and their features."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation.features import FeatureExtractor
from glow_app.generation.sampling import Temperature, sample_batches
from glow_app.models.image_model import ImageModel
from glow_app.progress import tracked


def batches(images: ImageSet, size: int, doing: str | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (B, C, H, W), and labels, (B,), in order; ``doing`` is the label of a progress bar."""
    starts = range(0, len(images), size)
    for start in starts if doing is None else tracked(starts, len(starts), doing):
        yield images.__getitems__(range(start, min(start + size, len(images))))


def features_of(parts: Iterable[Tensor], extract: FeatureExtractor) -> Tensor:
    """Return the features, (N, F), of all images in batches."""
    return torch.cat([extract(part) for part in parts])


def draw_samples(
    model: ImageModel,
    count: int,
    extract: FeatureExtractor | None,
    *,
    temperature: Temperature = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    labels: Sequence[int] | None = None,
    batch_size: int = 64,
    num_kept: int = 0,
) -> tuple[Tensor, Tensor | None]:
    """Return the first of ``count`` sampled images, uint8 (n, C, H, W), and the features of all, (N, F).

    Args:
        model: The model; at temperature 1 and guidance 1, its own distribution is measured.
        count: Number of images; only the features of all are held in memory at once.
        extract: The feature extractor; None for no features.
        temperature: As in :func:`~glow_app.generation.sample_batches`.
        guidance: As in :func:`~glow_app.generation.sample_batches`.
        seed: Seed of the first image.
        labels: Classes that the images take in turn, such as those of all real images; for a class-conditional model.
        batch_size: Images at a time.
        num_kept: Number of images to return.
    """
    features: list[Tensor] = []
    kept: list[Tensor] = []
    drawn = sample_batches(model, count, temperature, seed, labels, batch_size, guidance)
    for _ in tracked(range(0, count, batch_size), -(-count // batch_size), "drawing"):
        part = torch.stack([image.cpu() for _, image in islice(drawn, batch_size)])
        kept.append(part[: max(0, num_kept - sum(map(len, kept)))])
        if extract is not None:
            features.append(extract(part))
    return torch.cat(kept), torch.cat(features) if features else None


def fingerprint(images: ImageSet, size: int = 256) -> str:
    """Return the SHA-256 of all pixels in order; equal if two results were measured on the same images."""
    digest = hashlib.sha256()
    for part, _ in batches(images, size):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()
