"""A damaged picture as what an image model is given."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from registry import random_images, tiny_restorer
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.restoration import Clean, Colourise, Fill, RestorationTask, Upscale, picture_conditioning_of
from glow_app.seeding import image_generators
from glow_app.storage.model_config import build_model
from lightning_modules.restoration import estimate_bits, estimate_psnr

TASKS: dict[str, Callable[[], RestorationTask]] = {
    "upscale": Upscale, "clean": Clean, "colourise": Colourise, "fill": Fill,
}  # fmt: skip
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def observed(model: ImageModel, images: Tensor, first_seed: int = 1) -> Tensor:
    """Return the conditions of images that are damaged by seeds from ``first_seed`` on."""
    generator = image_generators(range(first_seed, first_seed + len(images)))
    return picture_conditioning_of(model).observe(images, torch.zeros(len(images)), generator)


@tasks
def test_images_come_back_exactly_in_any_size(task: Callable[[], RestorationTask]) -> None:
    model = tiny_restorer(task())
    for sides in ((8, 8), (12, 20)):
        images = random_images(2, (3, *sides))
        given = observed(model, images)
        latents = model.encode(images, given)
        assert torch.equal(model.decode(latents, given), images)
        assert sum(latent[0].numel() for latent in latents) == images[0].numel()
        assert model.sample(3, seeds=4, given=given[:1]).shape == (3, 3, *sides)


@tasks
def test_the_encoder_learns_from_its_estimate_and_the_flow_from_the_likelihood(
    task: Callable[[], RestorationTask],
) -> None:
    model = tiny_restorer(task(), dtype=torch.float64).train()
    images = random_images(4, (3, 8, 8))
    given = observed(model, images)
    in_flow = {p for n, p in model.named_parameters() if ".encoder." not in n or ".heads." in n}

    def trained_by(bits: Tensor) -> set[torch.nn.Parameter]:
        model.zero_grad()
        bits.sum().backward()
        return {parameter for parameter in model.parameters() if parameter.grad is not None}

    y = model.dequantised(images, image_generators([1, 2, 3, 4]))
    estimate = picture_conditioning_of(model).estimate(given)
    error = y - estimate
    variance = 4**-6 + error.square().mean((1, 2, 3), keepdim=True)  # with noise of 4 grey levels
    nats = 4**-6 / 2 / variance - torch.distributions.Normal(0.0, variance.sqrt()).log_prob(error)
    bits = estimate_bits(model, images, given, image_generators([1, 2, 3, 4]))
    torch.testing.assert_close(bits, 8 + nats.mean((1, 2, 3)) / math.log(2))
    assert trained_by(bits) == set(model.parameters()) - in_flow
    ratio = estimate_psnr(model, images, given, image_generators([1, 2, 3, 4]))
    torch.testing.assert_close(ratio, -10 * (y - estimate.clamp(-0.5, 0.5)).square().mean((1, 2, 3)).log10())
    assert trained_by(model(images, given, image_generators([1, 2, 3, 4]))) == in_flow


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.bits_per_dim(random_images(2), random_images(2, (1, 8, 8))), "(2, 1, 8, 8)"),
        (lambda m: m.encode(random_images(2), random_images(3)), "(3, 3, 8, 8)"),
        (lambda m: m.encode(random_images(2), random_images(2).float()), "torch.float32"),
        (lambda m: m.bits_per_dim(random_images(2), random_images(2, (3, 16, 8))), "(B, 3, 16, 8)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[ImageModel], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(tiny_restorer(Upscale()))


@pytest.mark.parametrize("name", ["os.system", "gaussian"])
def test_a_file_names_no_other_class_in_the_place_of_a_task(name: str) -> None:
    model = tiny_restorer(Upscale())
    config: dict[str, Any] = model.config
    config["flow"]["conditioning"]["task"] = {"type": name}
    with pytest.raises(ValueError, match=r"flow.conditioning.task.type is .*; expected one of clean, "):
        build_model(config, model.state_dict())
