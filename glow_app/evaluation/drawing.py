"""Images of a model for the evaluation: features of all, and a few to look at."""

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor

from glow_app.evaluation.features import FeatureExtractor
from glow_app.generation import sample_batches
from glow_app.generation.sample import Temperature
from glow_app.models.image_model import ImageModel

__all__ = ["draw_features"]


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
    for part in _parts(sample_batches(model, count, temperature, seed, labels, batch_size, guidance), batch_size):
        features.append(extract(part))
        kept.append(part[: max(0, num_kept - sum(len(one) for one in kept))])
    return torch.cat(features), torch.cat(kept)


def _parts(drawn: Iterator[tuple[int, Tensor]], size: int) -> Iterator[Tensor]:
    while part := [image.cpu() for _, image in islice(drawn, size)]:
        yield torch.stack(part)
