"""The parts add up to the whole, and each is where it belongs."""

import math

import pytest
import torch
from registry import random_images, tiny_glow, tiny_model

from glow_app.evaluation.bits import breakdown
from glow_app.models.image_model import ImageModel
from glow_app.priors import MAFPrior


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("options", [{"num_classes": 4, "num_bits": 5}, {"prior": MAFPrior}, {"num_levels": 1}])
def test_the_parts_add_up(options: dict[str, object]) -> None:
    model = tiny_model(**options).double()  # type: ignore[arg-type]
    images, labels = random_images(6), torch.arange(6) % 4
    parts = breakdown(model, images, labels, generator())
    levels = [value for name, value in parts.items() if name.startswith("bpd_level/")]
    assert len(levels) == len(model.flow.latent_shapes)
    with torch.no_grad():
        assert sum(levels) == pytest.approx(float(model(images, labels, generator()).mean()), abs=1e-9)
        x = model.dequantised(images, generator())
        log_det = float(model.flow(x, model.flow.embed(labels))[1].mean()) / (model.num_dims * math.log(2))
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
