"""Mean bits per dimension, and their parts, which add up to the whole."""

import math

import pytest
import torch
from registry import random_images, tiny_given, tiny_glow, tiny_model

from glow_app.data.image_set import ImageSet
from glow_app.evaluation import mean_bits
from glow_app.evaluation.bits import breakdown
from glow_app.models.image_model import ImageModel
from glow_app.priors import MAFPrior
from glow_app.seeding import image_generators


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("options", [{"num_classes": 4, "num_bits": 5}, {"prior": MAFPrior}, {"num_levels": 1}])
def test_the_parts_add_up(options: dict[str, object]) -> None:
    model = tiny_model(**options).double()  # type: ignore[arg-type]
    images, given = random_images(6), tiny_given(model.flow, 6)
    parts = breakdown(model, images, given, generator())
    levels = [value for name, value in parts.items() if name.startswith("bpd_level/")]
    assert len(levels) == len(model.flow.latent_shapes)
    with torch.no_grad():
        assert sum(levels) == pytest.approx(float(model(images, given, generator()).mean()), abs=1e-9)
        x = model.dequantised(images, generator())
        log_det = float(model.flow(x, model.context(given, 6))[1].mean()) / (model.num_dims * math.log(2))
    kinds = [value for name, value in parts.items() if name.startswith("log_det/")]
    assert sum(kinds) == pytest.approx(log_det, abs=1e-9)
    assert not [module for module in model.modules() if module._forward_hooks]


def test_a_layer_that_stretches_shows_under_its_name() -> None:
    model = ImageModel(tiny_glow((1, 4, 4), 1, 1, dtype=torch.float64))
    before = breakdown(model, random_images(4, (1, 4, 4)), None, generator())
    with torch.no_grad():
        model.flow.get_submodule("levels.0.bijections.1.bijections.0.bijections.0").norm.log_scale += math.log(2)  # type: ignore[union-attr, operator]
    after = breakdown(model, random_images(4, (1, 4, 4)), None, generator())
    # A bit for each of the 16 values, over 16.
    assert after["log_det/ActNorm"] - before["log_det/ActNorm"] == pytest.approx(1.0)
    assert after["log_det/InvertibleConv1x1"] == pytest.approx(before["log_det/InvertibleConv1x1"])


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
