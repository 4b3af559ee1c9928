"""Sampling in batches."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from glow_app.model import ImageModel

__all__ = ["sample_batches"]


def sample_batches(
    model: ImageModel,
    num: int,
    temperature: float | Sequence[float],
    seed: int,
    label: int | None = None,
    batch_size: int = 16,
) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(seed, image)`` for each of ``num`` images, the image a uint8 tensor (C, H, W).

    Image i depends on ``seed + i`` alone: batches are always full, since the order of a convolution's sums, and with it
    the last bit, may depend on the batch's size.

    Args:
        model: The model.
        num: How many.
        temperature: One for all levels, or one a level.
        seed: Of the first image.
        label: The class of all images; for a class-conditional model None takes the classes in turn, by seed.
        batch_size: Images at a time.
    """
    num_classes = model.flow.num_classes
    for start in range(seed, seed + num, batch_size):
        seeds = list(range(start, start + batch_size))
        labels = None
        if num_classes is not None:
            labels = torch.tensor([one % num_classes if label is None else label for one in seeds])
        elif label is not None:
            raise ValueError("this model is not class-conditional; leave --label out")
        images = model.sample(batch_size, temperature, seeds, labels)
        yield from zip(seeds[: seed + num - start], images, strict=False)
