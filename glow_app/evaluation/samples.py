"""Samples of a model, and how their features compare with those of real images."""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor

from glow_app.conditioning import Given
from glow_app.data.image_set import ImageSet
from glow_app.evaluation.batches import batches, observed_batches
from glow_app.evaluation.comparison import Comparison, compare
from glow_app.evaluation.features import FeatureExtractor
from glow_app.evaluation.measured_images import EvaluationData
from glow_app.generation.sampling import Temperature, sample_batches
from glow_app.models.image_model import ImageModel
from glow_app.progress import tracked


def draw_samples(
    model: ImageModel,
    count: int,
    extract: FeatureExtractor,
    *,
    temperature: Temperature = 1.0,
    guidance: float = 1.0,
    seed: int = 0,
    turns: Sequence[Given] | None = None,
    batch_size: int = 64,
    num_kept: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the first of ``count`` sampled images, uint8 (n, C, H, W), and the features of all, (N, F).

    Args:
        model: The model; at temperature 1 and guidance 1, its own distribution is measured.
        count: Number of images; only the features of all are held in memory at once.
        temperature, guidance, seed, turns: As for :func:`~glow_app.generation.sample_batches`.
    """
    features: list[Tensor] = []
    kept: list[Tensor] = []
    drawn = sample_batches(model, count, temperature, seed, turns, batch_size, guidance)
    for _ in tracked(range(0, count, batch_size), -(-count // batch_size), "drawing"):
        part = torch.stack([image.cpu() for _, image in islice(drawn, batch_size)])
        kept.append(part[: max(0, num_kept - sum(map(len, kept)))])
        features.append(extract(part))
    return torch.cat(kept), torch.cat(features)


def turns_of(model: ImageModel, images: ImageSet, seed: int = 0, batch_size: int = 64) -> list[Given] | None:
    """Return what the model is given about each of these images, for samples to take in turn; None for nothing."""
    parts = [given for _, given, _ in observed_batches(model, images, batch_size, "reading", seed) if given is not None]
    return (model.vocabulary.format(torch.cat(parts)) or None) if parts else None


def compare_samples(
    data: EvaluationData, extract: FeatureExtractor, drawn: Tensor, seed: int = 0, batch_size: int = 64
) -> dict[str, Comparison]:
    """Compare features of samples, as "drawn", and of as many "training_images", if known, with held-out images.

    The training images show the score of a perfect model: that of other real images.

    Args:
        drawn: Features of the samples, (M, F).
        seed: As for :func:`compare`.
    """

    def features(images: ImageSet) -> Tensor:
        return torch.cat([extract(part) for part, _ in batches(images, batch_size, "features")])

    real = features(data.held_out)
    compared = {"drawn": compare(real, drawn, seed)}
    if data.train is not None:
        others = data.train.subset(range(min(len(drawn), len(data.train))))
        compared["training_images"] = compare(real, features(others), seed)
    return compared
