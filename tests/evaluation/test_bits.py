"""Mean bits per dimension."""

import math

import pytest
import torch
from registry import random_images, tiny_model

from glow_app.data.image_set import ImageSet
from glow_app.evaluation import mean_bits
from glow_app.seeding import image_generators


@pytest.mark.parametrize("num_classes", [None, 3])
def test_mean_bits_are_those_of_each_image_by_its_own_seed(num_classes: int | None) -> None:
    model = tiny_model(num_bits=5, num_classes=num_classes)
    images = ImageSet(random_images(20).numpy(), torch.arange(20) % 3, ["a", "b", "c"])
    labels = None if num_classes is None else images.labels
    each = model.bits_per_dim(torch.from_numpy(images.images), labels, 3, image_generators(range(5, 25)))
    found = mean_bits(model, images, 3, seed=5, batch_size=7)
    assert found.mean == pytest.approx(float(each.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(each.std()) / math.sqrt(20), rel=1e-5)
    # The bound gets tighter with more draws, of which the first is the same.
    assert mean_bits(model, images, 1, seed=5).mean > found.mean > mean_bits(model, images, 12, seed=5).mean
