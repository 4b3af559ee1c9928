"""An image model with a task: a density of images given a damaged copy."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from registry import mark_trained, perturb, random_images

from glow_app.flows import Glow
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generators, step_generator
from glow_app.storage.model_config import build_model
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model, model_hash
from glow_app.tasks import Colourise, Denoise, Fill, RestorationTask, Upscale

TASKS: dict[str, Callable[[], RestorationTask]] = {
    "upscale": Upscale, "denoise": Denoise, "colourise": Colourise, "fill": Fill,
}  # fmt: skip
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())


def built(task: RestorationTask, num_classes: int | None = None, dtype: torch.dtype = torch.float32) -> ImageModel:
    torch.manual_seed(0)
    flow = Glow(
        (3, 8, 8),
        2,
        2,
        8,
        num_classes=num_classes,
        condition_channels=task.condition_channels(3),
        condition_mask=isinstance(task, Fill),
        condition_features=8,
        condition_blocks=2,
    )
    model = mark_trained(ImageModel(flow, task=task).to(dtype))
    images, generator = random_images(16), step_generator(0, 0, "cpu", "initialize")
    labels = None if num_classes is None else torch.arange(16) % num_classes
    model.initialize(images, labels, generator, model.condition(images, generator))
    return perturb(model, 1, 0.03).eval()  # latents reach thousands at 0.05


@tasks
@pytest.mark.parametrize("num_classes", [None, 3])
def test_images_come_back_exactly_in_any_size(task: Callable[[], RestorationTask], num_classes: int | None) -> None:
    model = built(task(), num_classes)
    labels = None if num_classes is None else torch.tensor([0, 2])
    for sides in ((8, 8), (12, 20)):
        images = random_images(2, (3, *sides))
        condition = model.condition(images)
        latents = model.encode(images, labels, condition)
        assert torch.equal(model.decode(latents, labels, condition=condition), images)
        assert sum(latent[0].numel() for latent in latents) == images[0].numel()


@tasks
def test_frozen_and_saved_it_is_the_same(task: Callable[[], RestorationTask], tmp_path: Path) -> None:
    model = built(task())
    save_pretrained(model, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.config == model.config
    assert model_hash(again) == model_hash(model)
    images = random_images(3, (3, 8, 12))
    condition = model.condition(images, image_generators([1, 2, 3]))
    samples = [one.sample(3, 0.8, 5, condition=condition) for one in (model, again, again.freeze())]
    assert all(torch.equal(one, samples[0]) for one in samples[1:])
    bits = [one.bits_per_dim(images, None, 2, image_generators([1, 2, 3]), condition) for one in (model, again)]
    assert torch.equal(*bits)


@tasks
def test_training_begins_with_the_encoder_and_then_holds_it_fixed(task: Callable[[], RestorationTask]) -> None:
    model = built(task(), dtype=torch.float64).train()
    assert model.flow.encoder is not None
    model.flow.encoder.trained.fill_(False)
    images = random_images(4, (3, 8, 8))
    condition = model.condition(images, image_generators([1, 2, 3, 4]))
    assert condition is not None
    of_flow = {p for n, p in model.named_parameters() if ".encoder." not in n or ".heads." in n}

    def trained() -> set[torch.nn.Parameter]:
        model.zero_grad()
        model(images, None, image_generators([1, 2, 3, 4]), condition).sum().backward()
        return {parameter for parameter in model.parameters() if parameter.grad is not None}

    y = model.dequantised(images, image_generators([1, 2, 3, 4]))
    error = y - model.flow.encoder.estimate((condition.double() + 0.5) / 256 - 0.5)
    gaussian = torch.distributions.Normal(0.0, error.square().mean((1, 2, 3), keepdim=True).sqrt())
    expected = 8 - gaussian.log_prob(error).mean((1, 2, 3)) / math.log(2)
    torch.testing.assert_close(model(images, None, image_generators([1, 2, 3, 4]), condition), expected)
    assert trained() == set(model.parameters()) - of_flow
    mark_trained(model)
    bits = model(images, None, image_generators([1, 2, 3, 4]), condition)
    assert torch.equal(bits, model.eval()(images, None, image_generators([1, 2, 3, 4]), condition))
    assert trained() == of_flow


@tasks
def test_the_error_of_a_draw_at_temperature_0_is_differentiable(task: Callable[[], RestorationTask]) -> None:
    model = built(task(), dtype=torch.float64)
    images = random_images(2, (3, 8, 12))
    condition = model.condition(images, image_generators([1, 2]))
    assert condition is not None
    bits = model.zero_draw_bits(images, None, image_generators([1, 2]), condition)
    draws = model.sample(2, 0.0, condition=condition).double() / 256 - 0.5
    assert model.flow.encoder is not None
    mean = model.flow.encoder.estimate((condition.double() + 0.5) / 256 - 0.5)
    y = model.dequantised(images, image_generators([1, 2]))
    error = ((y - mean).square() + (draws - mean).square()).mean((1, 2, 3))
    torch.testing.assert_close(bits, 8 + (2 * math.pi * math.e * error).log2() / 2, rtol=0, atol=0.05)
    bias = next(p for n, p in model.named_parameters() if n.endswith("conditioner.last.bias"))
    (gradient,) = torch.autograd.grad(bits.sum(), bias)
    with torch.no_grad():
        bias[0] += 1e-6
    after = model.zero_draw_bits(images, None, image_generators([1, 2]), condition)
    torch.testing.assert_close((after - bits).sum() / 1e-6, gradient[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_one_condition_serves_all_draws_and_decides_their_size(num_classes: int | None) -> None:
    model = built(Upscale(), num_classes)
    condition = model.condition(random_images(1, (3, 16, 8)))
    assert condition is not None
    draws = model.sample(3, seeds=4, condition=condition)
    each = model.sample(3, seeds=4, condition=condition.expand(3, -1, -1, -1))
    assert (draws.int() - each.int()).abs().max() <= 1  # convolutions of a batch round differently
    assert draws.shape == (3, 3, 16, 8)
    assert draws.seeds == [4, 5, 6]
    assert not torch.equal(draws[0], draws[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.bits_per_dim(random_images(2), condition=random_images(2, (1, 8, 8))), "got shape (2, 1, 8, 8)"),
        (lambda m: m.encode(random_images(2), condition=random_images(3)), "there are 3 conditions for 2 images"),
        (lambda m: m.bits_per_dim(random_images(2), condition=random_images(2, (3, 16, 8))), "expects a context"),
        (lambda m: ImageModel(m.flow, task=Fill()), "condition_channels of the flow is 3; expected 4 for Fill"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[ImageModel], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(built(Upscale()))


@pytest.mark.parametrize("name", ["os.system", "glow_app.nn.ConvConditioner", "glow_app.priors.GaussianPrior"])
def test_a_file_names_no_other_class_as_its_task(name: str) -> None:
    model = built(Upscale())
    config = {**model.config, "task": {"class_path": name, "init_args": {}}}
    with pytest.raises(ValueError, match=r"names the class|damaged"):
        build_model(config, model.state_dict())
