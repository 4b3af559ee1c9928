"""Images of a set, a few at a time, so that a set may be larger than memory."""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from glow_app.data import ImageSet
from glow_app.evaluation.features import FeatureExtractor

__all__ = ["batches", "features_of", "fingerprint"]


def batches(images: ImageSet, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (B, C, H, W), and labels, (B,), in order."""
    for start in range(0, len(images), size):
        yield images.__getitems__(range(start, min(start + size, len(images))))


def features_of(parts: Iterable[Tensor], extract: FeatureExtractor) -> Tensor:
    """Return the features of images that come in parts, (N, F)."""
    return torch.cat([extract(part) for part in parts])


def fingerprint(images: ImageSet, size: int = 256) -> str:
    """Return the SHA-256 of all pixels in order: whether two figures are of the same images."""
    digest = hashlib.sha256()
    for part, _ in batches(images, size):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()
