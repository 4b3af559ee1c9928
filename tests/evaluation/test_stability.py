import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from registry import random_images, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from glow_app.data import ImageSet
from glow_app.evaluation import exactness, mean_bits, round_trips
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.seeding import image_generators


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_bits=5)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return ImageSet(random_images(20).numpy(), torch.arange(20) % 3, ["a", "b", "c"])


def test_mean_bits_are_those_of_each_image_by_its_own_seed(model: ImageModel, images: ImageSet) -> None:
    pixels = torch.from_numpy(images.images)
    each = model.bits_per_dim(pixels, None, 3, image_generators(range(5, 25)))
    found = mean_bits(model, images, 3, seed=5, batch_size=7)
    assert found.mean == pytest.approx(float(each.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(each.std()) / math.sqrt(20), rel=1e-5)
    # The bound gets tighter with more draws, of which the first is the same.
    assert mean_bits(model, images, 1, seed=5).mean > found.mean > mean_bits(model, images, 30, seed=5).mean


def test_labels_reach_a_class_conditional_model(images: ImageSet) -> None:
    model = tiny_model(num_classes=3)
    pixels = torch.from_numpy(images.images)
    each = model.bits_per_dim(pixels, images.labels, 1, image_generators(range(20)))
    assert mean_bits(model, images).mean == pytest.approx(float(each.mean()), rel=1e-6)
    assert exactness(model, images).exact_images == 1.0


def test_a_good_model_gives_every_value_back(model: ImageModel, images: ImageSet) -> None:
    found = exactness(model, images, batch_size=6)
    assert (found.exact_images, found.exact_values, found.max_pixel_error) == (1.0, 1.0, 0)


def test_values_that_are_not_given_back_are_counted(model: ImageModel, images: ImageSet) -> None:
    decode = model.decode

    class Wrong(ImageModel):
        def decode(self, latents: Sequence[torch.Tensor], *given: Any, **named: Any) -> Images:
            back = decode(latents, *given, **named)
            back[0, 0, 0, 0] ^= 255
            back[0, 1, 2, 3] ^= 255
            return back

    wrong = Wrong(model.flow, model.num_bits)
    found = exactness(wrong, images, batch_size=10)  # the first image of each of two batches
    assert found.exact_images == pytest.approx(1 - 2 / 20)
    assert found.exact_values == pytest.approx(1 - 4 / (20 * 3 * 8 * 8))
    assert found.max_pixel_error > 0


class LargestTensor(TorchDispatchMode):
    """Keeps the number of values of the largest tensor that an operation returns."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.size = max([self.size, *(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))])
        return result


def test_exactness_holds_one_batch_in_memory(
    model: ImageModel, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchanged(model: ImageModel, part: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(images=model.quantised(part), max_pixel_error=0)

    monkeypatch.setattr("glow_app.evaluation.stability.reconstruct", unchanged)  # layers are wider than images
    with LargestTensor() as watched:
        assert exactness(model, images, batch_size=4).exact_values == 1.0
    assert watched.size == images.images[:4].size


def test_round_trips_lose_what_the_precision_loses(model: ImageModel, images: ImageSet) -> None:
    found = round_trips(model, torch.from_numpy(images.images))
    assert model.dtype == torch.float32  # it is a copy that becomes float64
    single, double = ({one.start: one for one in found if one.dtype == dtype} for dtype in ("float32", "float64"))
    assert list(single) == list(double)
    assert {"images", "images x 16", "uniform noise", "noise at temperature 0.7"} <= set(single)
    for start, one in single.items():
        assert one.unit == ("deviations" if "temperature" in start else "bins")
        assert 0 < one.median < one.largest < 0.5
        assert double[start].largest < 1e-6 * one.largest
    assert single["images"].largest < single["images x 4"].largest < single["images x 16"].largest
    # By hand, of one of them.
    x = (torch.from_numpy(images.images) // 8 + 0.5) / 32 - 0.5
    with torch.no_grad():
        error = (model.flow.decode(model.flow.encode(4 * x)) - 4 * x) * 32
    worst = error.abs().flatten(1).amax(1)
    found_error = single["images x 4"]
    assert (found_error.median, found_error.largest) == pytest.approx((float(worst.median()), float(worst.max())), 1e-3)


def test_inputs_that_overflow_are_told(images: ImageSet) -> None:
    model = tiny_model(num_bits=5)
    with torch.no_grad():
        next(iter(model.flow.parameters())).fill_(torch.nan)
    found = round_trips(model, torch.from_numpy(images.images))
    assert all((one.median, one.largest) == (math.inf, math.inf) for one in found)


def test_values_that_come_back_infinite_have_an_infinite_error(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(num_bits=5)
    back = torch.full((20, *model.flow.image_shape), math.inf)
    monkeypatch.setattr(type(model.flow), "decode", lambda _, z, context: back.to(z[0].dtype))
    errors = round_trips(model, torch.from_numpy(images.images))
    assert all(error.largest == math.inf for error in errors)
