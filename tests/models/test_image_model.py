import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from registry import random_images, tiny_glow, tiny_model
from torch import Tensor, nn

from glow_app.bijections import DiagonalAffine
from glow_app.flows import Context, MultiscaleFlow
from glow_app.generation import sample_batches
from glow_app.likelihood import quantise
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.storage.stored_model import model_hash

IMAGE_SHAPE = (3, 8, 8)


class KnownFlow(MultiscaleFlow):
    """A Gaussian with a standard deviation of ours for every value: no steps, one prior."""

    num_classes = None
    condition_channels = 0
    condition_mask = False
    encoder = None

    def __init__(self, image_shape: Sequence[int] = (1, 2, 2), std: float = 1.0) -> None:
        super().__init__(image_shape, [[]], [], DiagonalAffine(4 * image_shape[0]))
        nn.init.constant_(self.prior.log_scale, math.log(std))  # type: ignore[arg-type]
        self.double()

    def context(self, labels: Tensor | None, condition: Tensor | None = None, guidance: float = 1.0) -> None:
        return None


class UniformFlow(KnownFlow):
    """The uniform density on the cube that images are scaled to."""

    def log_prob(self, x: Tensor, context: Context = None) -> Tensor:
        inside = ((x >= -0.5) & (x < 0.5)).flatten(1).all(1)
        return torch.where(inside, 0.0, -math.inf).to(x.dtype)

    def level_log_probs(self, x: Tensor, context: Context = None) -> Tensor:
        return self.log_prob(x)[:, None]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained() -> ImageModel:
    """Return a float32 model after a few steps of training, whose parameters have all moved."""
    torch.manual_seed(0)
    model = ImageModel(tiny_glow(IMAGE_SHAPE, 2, 3, 16))
    images = random_images(32) // 2 + torch.arange(8, dtype=torch.uint8) * 16
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(images).mean()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    return model.eval()


@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_a_uniform_density_costs_exactly_its_bits(num_bits: int) -> None:
    model = ImageModel(UniformFlow(), num_bits)  # type: ignore[arg-type]
    images = random_images(16, (1, 2, 2))
    assert torch.equal(model(images), torch.full((16,), float(num_bits), dtype=torch.float64))
    assert model.bits_per_dim(images, num_draws=3).allclose(torch.tensor(float(num_bits), dtype=torch.float64))


@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_the_bits_of_a_standard_normal(num_bits: int) -> None:
    model = ImageModel(KnownFlow(), num_bits)  # type: ignore[arg-type]
    images = random_images(16, (1, 2, 2))
    noise = torch.rand(images.shape, dtype=torch.float64, generator=seeded())
    y = ((images >> (8 - num_bits)) + noise) / 2**num_bits - 0.5
    nats = 0.5 * (y.square().sum((1, 2, 3)) + 4 * math.log(2 * math.pi)) + 4 * num_bits * math.log(2)
    torch.testing.assert_close(model(images, generator=seeded()), nats / (4 * math.log(2)))


def test_more_draws_are_the_logarithm_of_a_mean() -> None:
    model = ImageModel(KnownFlow(std=0.1), 2)  # type: ignore[arg-type]
    images = random_images(16, (1, 2, 2))
    generator = seeded()
    draws = torch.stack([model(images, generator=generator) for _ in range(5)])
    expected = -torch.log2(torch.exp2(-4 * draws).mean(0)) / 4
    torch.testing.assert_close(model.bits_per_dim(images, num_draws=5, generator=seeded()), expected)


def test_more_draws_bound_the_exact_value_ever_more_tightly() -> None:
    std = 0.2
    model = ImageModel(KnownFlow(std=std), 1)  # type: ignore[arg-type]
    images = random_images(2000, (1, 2, 2))
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), std)
    # Both bins reach from 0 to a half, on one side or the other.
    probability = normal.cdf(torch.tensor(0.5, dtype=torch.float64)) - 0.5
    exact = -probability.log2().item()
    means = [model.bits_per_dim(images, num_draws=k, generator=seeded()).mean().item() for k in (1, 4, 16, 128)]
    assert all(fewer > more for fewer, more in pairwise(means))
    assert means[-1] == pytest.approx(exact, abs=5e-3)
    assert means[-1] > exact


def test_one_draw_equals_forward(trained: ImageModel) -> None:
    images = random_images(4)
    once = trained.bits_per_dim(images, generator=seeded())
    torch.testing.assert_close(once, trained(images, generator=seeded()).detach(), rtol=1e-6, atol=0)
    assert once.shape == (4,)
    assert once.dtype == torch.float32
    assert not once.requires_grad


def test_bad_numbers_of_bits_and_draws_are_refused(trained: ImageModel) -> None:
    for num_bits in (0, 9, 2.5, "8"):
        with pytest.raises(ValueError, match="num_bits is"):
            ImageModel(tiny_glow((1, 4, 4)), num_bits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_draws is 0"):
        trained.bits_per_dim(random_images(1), num_draws=0)


def test_bad_images_are_refused(trained: ImageModel) -> None:
    for method in (trained, trained.bits_per_dim, trained.encode, trained.initialize):
        with pytest.raises(ValueError, match="expected uint8"):
            method(torch.zeros(2, *IMAGE_SHAPE))
        for shape in ((2, 1, 8, 8), (2, 3, 16, 16), (8, 8)):
            with pytest.raises(ValueError, match=re.escape("images of shape (B, 3, 8, 8)")):
                method(torch.zeros(shape, dtype=torch.uint8))


def extreme_images() -> Tensor:
    black = torch.zeros(IMAGE_SHAPE, dtype=torch.uint8)
    checkers = torch.zeros(IMAGE_SHAPE, dtype=torch.uint8)
    checkers[:, ::2, ::2] = checkers[:, 1::2, 1::2] = 255
    one_white = black.clone()
    one_white[0, 0, 0] = 255
    return torch.stack([black, 255 - black, checkers, 255 - checkers, one_white, 255 - one_white])


def test_eight_bit_images_come_back_exactly(trained: ImageModel) -> None:
    for images in (random_images(64), extreme_images()):
        assert torch.equal(trained.decode(trained.encode(images)), images)
        assert torch.equal(trained.quantised(images), images)


def test_eight_bit_images_come_back_exactly_under_autocast() -> None:
    # Twelve steps: the deeper the flow, the more bfloat16 roundings flip on the way back.
    model = tiny_model(image_shape=(3, 32, 32), num_levels=3, num_steps=4, hidden_channels=32, perturbation=0.02)
    images = random_images(8, (3, 32, 32))
    assert torch.equal(model.decode(model.encode(images)), images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.decode(model.encode(images)), images)


@pytest.mark.parametrize("num_bits", [1, 5])
def test_fewer_bits_give_the_quantised_images_back(num_bits: int) -> None:
    model = tiny_model(num_bits)
    for images in (random_images(64), extreme_images()):
        quantised = model.quantised(images)
        assert torch.equal(model.decode(model.encode(images)), quantised)
        assert torch.equal(quantise(quantised, num_bits), quantise(images, num_bits))
        assert torch.equal(model.quantised(quantised), quantised)


def test_images_of_classes_come_back_with_their_labels() -> None:
    model = tiny_model(num_classes=3)
    images, labels = random_images(9), torch.arange(9) % 3
    assert torch.equal(model.decode(model.encode(images, labels), labels), images)
    with pytest.raises(ValueError, match="give labels from 0 to 2"):
        model.encode(images)


def test_an_image_depends_on_its_own_seed_only(trained: ImageModel) -> None:
    state = torch.get_rng_state()
    together = trained.sample(4, seeds=10)
    assert torch.equal(torch.get_rng_state(), state)
    assert together.dtype == torch.uint8
    assert together.shape == (4, *IMAGE_SHAPE)
    for index in range(4):
        assert torch.equal(trained.sample(1, seeds=10 + index)[0], together[index])
    assert torch.equal(trained.sample(3, seeds=[13, 10, 12]), together[[3, 0, 2]])
    assert torch.equal(trained.sample(4, seeds=10), together)
    assert len({image.numpy().tobytes() for image in together}) == 4


def test_temperature_zero_gives_one_image(trained: ImageModel) -> None:
    images = trained.sample(4, temperature=0.0)
    assert torch.equal(images, images[:1].expand_as(images))
    zeros = [torch.zeros(1, *shape) for shape in trained.flow.latent_shapes]
    assert torch.equal(trained.decode(zeros)[0], images[0])


def test_labels_choose_the_samples() -> None:
    model = tiny_model(num_classes=3)
    same_noise = model.sample(3, seeds=[4, 4, 4], labels=torch.tensor([0, 1, 2]))
    assert len({image.numpy().tobytes() for image in same_noise}) == 3
    with pytest.raises(ValueError, match="give labels"):
        model.decode(model.base_noise([4, 5]))


def test_samples_are_by_default_those_of_the_command() -> None:
    model = tiny_model(num_classes=3)
    model.class_names = ["cat", "dog", "owl"]
    model.generation = GenerationSettings((0.9, 0.5), 1.25)
    images, others = model.sample(4), model.sample(4)
    assert images.seeds != others.seeds
    assert images.seeds == list(range(images.seeds[0], images.seeds[0] + 4))
    turns = [seed % 3 for seed in images.seeds]
    assert images.labels == turns
    again = model.sample(4, [0.9, 0.5], images.seeds, torch.tensor(turns), 1.25)
    assert torch.equal(images, again)
    assert images.facts == again.facts
    drawn = torch.stack([image for _, image in sample_batches(model, 4, (0.9, 0.5), images.seeds[0], None, 4, 1.25)])
    assert torch.equal(images, drawn)
    assert tiny_model().sample(1).labels is None


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ("DOG", [1, 1, 1]),
        (2, [2, 2, 2]),
        (["owl", 0, "1"], [2, 0, 1]),
        (np.array([2, 0, 1]), [2, 0, 1]),
        (torch.tensor(2, dtype=torch.uint8), [2, 2, 2]),
    ],
)
def test_classes_by_name_and_number(labels: Any, numbers: list[int]) -> None:
    model = tiny_model(num_classes=3)
    model.class_names = ["cat", "dog", "owl"]
    images = model.sample(3, seeds=5, labels=labels)
    assert images.labels == numbers
    assert torch.equal(images, model.sample(3, seeds=5, labels=torch.tensor(numbers)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("dogg", "did you mean dog?"),
        ([0, 3], "there is no class 3"),
        (1.0, "there is no class 1.0"),
        (["cat"], "there are 1 labels for 2 images"),
        (torch.zeros(3, dtype=torch.long), "there are 3 labels for 2 images"),
        (torch.tensor([0, 3]), "expected 0 to 2"),
        (torch.tensor([0.0, 1.0]), "expected class numbers of shape (2,)"),
        (torch.eye(3, dtype=torch.int64)[:2], "expected class numbers of shape (2,)"),
    ],
)
def test_classes_that_do_not_fit_are_refused(labels: Any, message: str) -> None:
    model = tiny_model(num_classes=3)
    model.class_names = ["cat", "dog", "owl"]
    for run in (lambda: model.sample(2, labels=labels), lambda: model.bits_per_dim(random_images(2), labels)):
        with pytest.raises(ValueError, match=re.escape(message)):
            run()
    with pytest.raises(ValueError, match="not class-conditional"):
        tiny_model().sample(2, labels="cat")


def test_guidance_changes_the_context_alone() -> None:
    model, labels = tiny_model(num_classes=3), torch.tensor([0, 1, 2])
    plain = model.sample(3, 0.8, 5, labels)
    assert torch.equal(plain, model.decode(model.base_noise([5, 6, 7], 0.8), labels))
    assert torch.equal(model.sample(3, 0.8, 5, labels, guidance=1), plain)
    guided = model.sample(3, 0.8, 5, labels, guidance=1.5)
    assert torch.equal(guided, model.decode(model.base_noise([5, 6, 7], 0.8), context=model.flow.embed(labels, 1.5)))
    assert not torch.equal(guided, plain)


def test_the_settings_to_draw_with_have_to_fit_the_model() -> None:
    model, classes = tiny_model(), tiny_model(num_classes=3)
    assert model.generation == GenerationSettings(0.7, 1.0)
    hashes = model_hash(classes)
    classes.generation = GenerationSettings((0.9, 1.0), 1.25)
    assert model_hash(classes) == hashes
    with pytest.raises(ValueError, match="3 temperatures; expected 1, or 2"):
        classes.generation = GenerationSettings((0.9, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"guidance is 1\.25, and the model has no classes"):
        model.generation = GenerationSettings(0.9, 1.25)
    assert model.generation == GenerationSettings()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_settings_may_be_numbers_of_numpy_and_torch(trained: ImageModel, kind: Callable[[Any], Any]) -> None:
    for temperature in (0.5, [0.5, 1.0]):
        images = trained.sample(2, kind(temperature), seeds=3)
        assert torch.equal(images, trained.sample(2, temperature, seeds=3))
        assert images.facts[0]["temperature"] == temperature
    assert GenerationSettings(np.float32(0.5), np.float32(1.5)) == GenerationSettings(0.5, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num", "arguments", "message"),
    [
        (0, {}, "num is 0; expected a whole number from 1"),
        (2.0, {}, "num is 2.0; expected a whole number"),
        (2, {"temperature": -0.1}, "temperature is -0.1; expected a number from 0 to 100"),
        (2, {"temperature": math.nan}, "temperature is nan"),
        (2, {"temperature": [0.5, -1.0]}, "temperature is -1.0"),
        (2, {"temperature": [0.5]}, "there are 1 temperatures; expected 1, or 2, one per level"),
        (2, {"temperature": []}, "temperature is empty"),
        (2, {"seeds": [1, 2, 3]}, "there are 3 seeds for 2 images"),
        (2, {"seeds": 1.5}, "seeds is 1.5; expected a whole number, or one per image"),
        (1, {"seeds": 2**63}, "expected 0 to 2**63 - 1"),
        (2, {"seeds": -1}, "seeds are from -1 to 0"),
    ],
)
def test_bad_requests_are_refused(trained: ImageModel, num: Any, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        trained.sample(num, **arguments)  # type: ignore[arg-type]


def test_latents_that_do_not_fit_are_refused(trained: ImageModel) -> None:
    latents = trained.encode(random_images(2))
    bad_latents: list[Any] = [latents[:1], latents[0], [latents[0][0], latents[1]]]
    for bad in bad_latents:
        with pytest.raises(ValueError, match="expected latents of shapes"):
            trained.decode(bad)
    assert torch.equal(trained.decode([level.double() for level in latents]), trained.decode(latents))


def test_a_part_at_a_time_gives_the_images_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(num_classes=3)
    labels = torch.arange(8) % 3
    latents = model.encode(random_images(8), labels)
    whole = model.decode(latents, labels)
    decode = Mock(side_effect=model.flow.decode)
    monkeypatch.setattr(model.flow, "decode", decode)
    monkeypatch.setattr("glow_app.running.select.CPU_IMAGES", 3)
    assert torch.equal(model.decode(latents, labels), whole)
    assert [len(call.args[0][0]) for call in decode.call_args_list] == [3, 3, 2]


def test_weights_of_16_bits_are_refused_before_any_is_changed() -> None:
    model = tiny_model()
    before = model_hash(model)
    with pytest.raises(ValueError, match="use autocast"):
        model.to(torch.bfloat16)
    assert model_hash(model) == before
