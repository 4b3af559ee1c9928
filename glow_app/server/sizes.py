"""Batch sizes for sampling, and its duration."""

import time

import torch
from torch import Tensor

from glow_app.bijections import full_precision
from glow_app.models.image_model import ImageModel
from glow_app.running import images_at_a_time
from glow_app.server.limits import LARGEST_BATCH


@torch.no_grad()
def equal_sizes(model: ImageModel, batch_size: int) -> list[int]:
    """Return the batch sizes that reproduce images of ``batch_size`` to the last bit on this machine."""
    largest = min(LARGEST_BATCH, images_at_a_time(model.flow.hidden_channels, model.flow.image_shape))
    sizes = [batch_size]
    if model.device.type != "cpu" or largest < 2 * batch_size:
        return sizes
    noise = model.base_noise(range(batch_size))
    classes = model.flow.num_classes
    context = None if classes is None else model.flow.embed(torch.arange(batch_size) % classes)

    def decode(size: int) -> Tensor:
        """Decode the noise, repeated to fill the batch."""
        rows = torch.arange(size) % batch_size
        with full_precision(model.device):
            repeated = None if context is None else context[rows]
            return model.fastest_flow.decode([level[rows] for level in noise], repeated)

    expected = decode(batch_size)
    for size in range(2 * batch_size, largest + 1, batch_size):
        images = decode(size)
        if not all(torch.equal(part, expected) for part in images.split(batch_size)):
            break
        sizes.append(size)
    return sizes


def seconds_per_image(model: ImageModel) -> float:
    """Return the seconds that sampling one image takes, after a warm-up."""
    for _ in range(2):
        begun = time.perf_counter()
        model.sample(1, seeds=0)
    return time.perf_counter() - begun
