"""Batches of real images, processed one at a time to bound memory."""

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.models.image_model import ImageModel
from glow_app.progress import tracked
from glow_app.seeding import image_generators


def batches(images: ImageSet, size: int, doing: str | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images, uint8 (B, C, H, W), and labels, (B,), in order; ``doing`` is the label of a progress bar."""
    starts = range(0, len(images), size)
    for start in starts if doing is None else tracked(starts, len(starts), doing):
        yield images.__getitems__(range(start, min(start + size, len(images))))


def observed_batches(
    model: ImageModel, images: ImageSet, size: int, doing: str, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor | None, torch.Generator]]:
    """Yield images on the model's device, what the model is given about them, and a generator of the noise of each.

    What is given is what :meth:`Conditioning.observe <glow_app.conditioning.Conditioning.observe>` returns, and None if
    the labels are unknown; image i has the noise of ``seed`` + i.
    """
    has_labels = model.vocabulary.has_labels(images)
    for part, labels in batches(images, size, doing):
        part, generator = part.to(model.device), image_generators(range(seed, seed + len(part)))
        seed += len(part)
        yield part, model.conditioning.observe(part, labels, generator) if has_labels else None, generator


def fingerprint(images: ImageSet) -> str:
    """Return the SHA-256 of all pixels in order; equal if two results were measured on the same images."""
    digest = hashlib.sha256()
    for part, _ in batches(images, 256):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()
