import math
import re
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from registry import named, random_images, same_pictures, tiny_glow, tiny_model
from torch import Tensor, nn

from glow_app.bijections import DiagonalAffine, Squeeze
from glow_app.flows import Glow, MultiscaleFlow
from glow_app.likelihood import quantise, to_uint8
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pipeline import sample_batches
from glow_app.pipeline.loaded_model import LoadedModel
from glow_app.pipeline.sampling import decode_guided, draw, guidance_change
from glow_app.storage.stored_model import load_model

IMAGE_SHAPE = (3, 8, 8)


class KnownFlow(Glow):
    """A Gaussian with a standard deviation of ours for every value: no steps, one prior."""

    def __init__(self, image_shape: Sequence[int] = (1, 2, 2), std: float = 1.0) -> None:
        MultiscaleFlow.__init__(self, image_shape, [[Squeeze()]], [], DiagonalAffine(4 * image_shape[0]))
        nn.init.constant_(self.prior.log_scale, math.log(std))  # type: ignore[arg-type]
        self.double()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained() -> LoadedModel:
    """Return a float32 model after a few steps of training, whose parameters have all moved."""
    torch.manual_seed(0)
    model = LoadedModel(tiny_glow(IMAGE_SHAPE, 2, 3, 16))
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
def test_the_bits_of_a_standard_normal(num_bits: int) -> None:
    model = ImageModel(KnownFlow(), num_bits)
    images = random_images(16, (1, 2, 2))
    noise = torch.rand(images.shape, dtype=torch.float64, generator=seeded())
    y = ((images >> (8 - num_bits)) + noise) / 2**num_bits - 0.5
    nats = 0.5 * (y.square().sum((1, 2, 3)) + 4 * math.log(2 * math.pi)) + 4 * num_bits * math.log(2)
    torch.testing.assert_close(model(images, generator=seeded()), nats / (4 * math.log(2)))


def test_more_draws_are_the_logarithm_of_a_mean() -> None:
    model = ImageModel(KnownFlow(std=0.1), 2)
    images = random_images(16, (1, 2, 2))
    generator = seeded()
    draws = torch.stack([model(images, generator=generator) for _ in range(5)])
    expected = -torch.log2(torch.exp2(-4 * draws).mean(0)) / 4
    torch.testing.assert_close(model.bits_per_dim(images, draws=5, generator=seeded()), expected)


def test_one_draw_equals_forward(trained: LoadedModel) -> None:
    images = random_images(4)
    once = trained.bits_per_dim(images, generator=seeded())
    torch.testing.assert_close(once, trained(images, generator=seeded()).detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(trained.log_prob(images), -192 * math.log(2) * trained.bits_per_dim(images))
    assert torch.equal(trained.bits_per_dim(images), trained.bits_per_dim(images)), "the same noise in every call"
    torch.testing.assert_close(trained.bits_per_dim(images)[3:], trained.bits_per_dim(images[3], generator=seeded(3)))
    assert once.shape == (4,)
    assert once.dtype == torch.float32
    assert not once.requires_grad


def test_bad_numbers_of_bits_and_draws_are_refused(trained: LoadedModel) -> None:
    for num_bits in (0, 9, 2.5, "8"):
        with pytest.raises(ValueError, match="num_bits is"):
            ImageModel(tiny_glow((1, 4, 4)), num_bits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws is 0"):
        trained.bits_per_dim(random_images(1), draws=0)


def test_flows_that_no_file_can_describe_and_huge_images_are_refused() -> None:
    flow = MultiscaleFlow((1, 4, 4), [[Squeeze()]], [], DiagonalAffine(4))
    with pytest.raises(TypeError, match=r"a MultiscaleFlow, .*; expected a Glow or a WaveletFlow: Glow\(step="):
        ImageModel(flow)  # type: ignore[arg-type]
    with torch.device("meta"), pytest.raises(ValueError, match="8192x8192 pixels; expected at most 4,194,304"):
        ImageModel(Glow((3, 8192, 8192), 1, 1, 4))


def test_draws_have_gradients_and_log_probabilities(trained: LoadedModel) -> None:
    values = trained.rsample(4, 0.7, 5)
    assert torch.equal(to_uint8(values.detach(), trained.num_bits), trained.sample(4, 0.7, 5))
    values.square().mean().backward()
    assert all(level.grad is not None for level in trained.flow.parameters() if level.numel())
    trained.zero_grad(set_to_none=True)
    images, log_prob = trained.sample_and_log_prob(4, 0.7, 5)
    assert torch.equal(images, trained.sample(4, 0.7, 5))
    assert torch.equal(log_prob, trained.log_prob(images))
    model = ImageModel(tiny_glow(num_classes=3))
    images, log_prob = model.sample_and_log_prob(2, seeds=0, given=torch.tensor([2, 0]))
    assert torch.equal(log_prob, model.log_prob(images, torch.tensor([2, 0])))
    assert model.rsample(2, seeds=0, given=torch.tensor([2, 0])).shape == images.shape


def test_a_file_is_for_a_model_that_was_loaded() -> None:
    model = ImageModel(tiny_glow())
    for method in (model.encode, model.bits_per_dim, model.log_prob):
        with pytest.raises(TypeError, match=r"images are a str; expected a uint8 tensor .* load_model"):
            method("x.png")  # type: ignore[arg-type]


def test_bad_images_are_refused(trained: LoadedModel) -> None:
    for method in (trained, trained.bits_per_dim, trained.encode, trained.initialize):
        with pytest.raises(ValueError, match="expected uint8"):
            method(torch.zeros(2, *IMAGE_SHAPE))
        for shape in ((2, 1, 8, 8), (2, 3, 16, 16), (8, 8)):
            with pytest.raises(ValueError, match=re.escape("images of shape (B, 3, 8, 8)")):
                method(torch.zeros(shape, dtype=torch.uint8))


@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_extreme_images_come_back_exactly(num_bits: int) -> None:
    model = tiny_model(num_bits)
    images = torch.zeros(6, *IMAGE_SHAPE, dtype=torch.uint8)  # black, white, checkers, and one pixel of another value
    images[2, :, ::2, ::2] = images[2, :, 1::2, 1::2] = 255
    images[4, 0, 0, 0] = 255
    images[1::2] = 255 - images[::2]
    quantised = model.quantised(images)
    assert torch.equal(model.decode(model.encode(images)), quantised)
    assert torch.equal(quantise(quantised, num_bits), quantise(images, num_bits))
    assert torch.equal(model.quantised(quantised), quantised)


def test_an_image_that_explodes_gets_less_of_an_extrapolation(trained: LoadedModel, monkeypatch: Any) -> None:
    contexts: list[Tensor] = []

    def decoded(_: ImageModel, latents: Any, context: Tensor) -> Tensor:
        contexts.append(context)
        return context[:, :, None, None].clone()

    monkeypatch.setattr(ImageModel, "_decoded", decoded)
    far = torch.tensor([[1.0], [1.25], [-2.5], [torch.inf], [16.0]])
    trained.decode_with([], 0 * far[:3], far[:3])
    of_each = [context.flatten().tolist() for context in contexts]
    assert of_each == [[1, 1.25, -2.5], [0.9375, -1.875], [-1.25], [-0.625]], "only those that explode"
    trained.decode_with([], 0 * far[4:], far[4:])
    assert contexts[-1].flatten().tolist() == [0]
    with pytest.raises(FloatingPointError, match="1 of 5 images are not finite"):
        trained.decode_with([], far)
    # A few sparks in a large image are clipped; they do not take an edit back.
    large = torch.zeros(2, 1000)
    large[0, :4], large[1, :8] = 2.0, 2.0
    contexts.clear()
    trained.decode_with([], 0 * large, large)
    assert [len(context) for context in contexts[:2]] == [2, 1]


@pytest.mark.parametrize(("temperature", "guidance"), [(0.7, 1.0), (1.0, 1.0), (1.0, 2.0)])
def test_a_draw_that_explodes_has_less_noise_unless_it_is_of_the_models_distribution(
    temperature: float, guidance: float
) -> None:
    model, given = tiny_model(num_classes=3, perturbation=0.02), torch.tensor([0, 2, 1])
    noise = model.base_noise([5, 6, 7], 0.3)
    noise[-1][1] *= 1000
    guided = decode_guided(model, noise, given, GenerationSettings(temperature, guidance))
    plain = model.decode_with(noise, model.context(given, 3), guidance_change(model, given, guidance))
    assert torch.equal(guided[::2], plain[::2])
    assert torch.equal(guided[1], plain[1]) == (temperature == guidance == 1)


def test_an_image_depends_on_its_own_seed_only(trained: LoadedModel) -> None:
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


def test_temperature_zero_gives_one_image(trained: LoadedModel) -> None:
    images = trained.sample(4, temperature=0.0)
    assert torch.equal(images, images[:1].expand_as(images))
    zeros = [torch.zeros(1, *shape) for shape in trained.flow.latent_shapes]
    assert torch.equal(trained.decode(zeros)[0], images[0])


def test_the_noise_is_normal_with_the_temperature_of_each_level() -> None:
    for level, temperature in zip(tiny_model().base_noise(range(3000), [0.5, 1.0]), (0.5, 1.0), strict=True):
        assert float(level.mean()) == pytest.approx(0, abs=0.01)
        assert float(level.std()) == pytest.approx(temperature, rel=0.01)


def test_samples_are_by_default_those_of_the_command() -> None:
    model = tiny_model(num_classes=3)
    named(model, "cat", "dog", "owl")
    model.generation = GenerationSettings((0.9, 0.5), 1.25)
    images, others = model.sample(4), model.sample(4)
    assert images.seeds != others.seeds
    assert images.seeds == list(range(images.seeds[0], images.seeds[0] + 4))
    turns = [["cat", "dog", "owl"][seed % 3] for seed in images.seeds]
    assert images.given == turns
    again = model.sample(4, [0.9, 0.5], images.seeds, turns, 1.25)
    assert torch.equal(images, again)
    assert images.facts == again.facts
    drawn = torch.stack([image for _, image in sample_batches(model, 4, (0.9, 0.5), images.seeds[0], None, 4, 1.25)])
    assert torch.equal(images, drawn)
    assert tiny_model().sample(1).given == []


def test_exactly_as_many_are_drawn_as_asked_for_and_a_seed_is_the_same_picture_in_every_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, sizes = load_model("fashion-mnist").freeze(), list[int]()

    def counted(model: LoadedModel, seeds: Sequence[int], *arguments: Any) -> Images:
        sizes.append(len(seeds))
        return draw(model, seeds, *arguments)

    monkeypatch.setattr("glow_app.pipeline.sampling.draw", counted)
    together = model.sample(16, 0.7, 5, guidance=1.5)
    for batch_size in (1, 7, 16):
        drawn = torch.stack([image for _, image in sample_batches(model, 16, 0.7, 5, None, batch_size, 1.5)])
        assert same_pictures(drawn, together, model.num_bits)
    assert torch.equal(drawn, together), "of equal batches"
    assert sizes == [1] * 16 + [7, 7, 2, 16]


def test_guidance_changes_the_context_alone() -> None:
    model, labels = tiny_model(num_classes=3, perturbation=0.02), torch.tensor([0, 1, 2])
    plain = model.sample(3, 0.8, 5, labels)
    assert torch.equal(plain, model.decode(model.base_noise([5, 6, 7], 0.8), labels))
    assert torch.equal(ImageModel.sample(model, 3, 0.8, 5, labels), plain)
    assert torch.equal(model.sample(3, 0.8, 5, labels, guidance=1), plain)
    guided = model.sample(3, 0.8, 5, labels, guidance=1.5)
    assert torch.equal(
        guided, decode_guided(model, model.base_noise([5, 6, 7], 0.8), labels, GenerationSettings(0.8, 1.5))
    )
    assert not torch.equal(guided, plain)


def test_the_settings_to_draw_with_have_to_fit_the_model() -> None:
    model, classes = tiny_model(), tiny_model(num_classes=3)
    assert model.generation == GenerationSettings(0.7, 1.0)
    hashes = classes.hash
    classes.generation = GenerationSettings((0.9, 1.0), 1.25)
    assert classes.hash == hashes
    with pytest.raises(ValueError, match="3 temperatures; expected 1, or 2"):
        classes.generation = GenerationSettings((0.9, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"guidance is 1\.25"):
        model.generation = GenerationSettings(0.9, 1.25)
    assert model.generation == GenerationSettings()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_settings_may_be_numbers_of_numpy_and_torch(trained: LoadedModel, kind: Callable[[Any], Any]) -> None:
    for temperature in (0.5, [0.5, 1.0]):
        images = trained.sample(2, kind(temperature), seeds=3)
        assert torch.equal(images, trained.sample(2, temperature, seeds=3))
        assert images.facts[0]["temperature"] == temperature
    assert GenerationSettings(np.float32(0.5), np.float32(1.5)) == GenerationSettings(0.5, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("num", "arguments"),
    [
        *((0, {}), (2.0, {})),
        *((2, {"temperature": temperature}) for temperature in (-0.1, math.nan, [0.5, -1.0], [0.5], [])),
        *((2, {"seeds": seeds}) for seeds in ([1, 2, 3], 1.5, 2**63, -1)),
    ],
)
def test_bad_requests_are_refused(trained: LoadedModel, num: Any, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="temperature" if "temperature" in arguments else "seeds|num is|expected 0 to"):
        trained.sample(num, **arguments)  # type: ignore[arg-type]


def test_latents_that_do_not_fit_are_refused(trained: LoadedModel) -> None:
    latents = trained.encode(random_images(2))
    for bad in (latents[:1], latents[0], [latents[0][0], latents[1]]):
        with pytest.raises(ValueError, match="expected latents of shapes"):
            trained.decode(bad)  # type: ignore[arg-type]
    assert torch.equal(trained.decode([level.double() for level in latents]), trained.decode(latents))


def test_a_part_at_a_time_gives_the_images_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(num_classes=3)
    labels = torch.arange(8) % 3
    latents = model.encode(random_images(8), labels)
    whole = model.decode(latents, labels)
    decode = Mock(side_effect=model.flow.decode)
    monkeypatch.setattr(model.flow, "decode", decode)
    monkeypatch.setattr("glow_app.running.folded.CPU_IMAGES", 3)
    assert torch.equal(model.decode(latents, labels), whole)
    assert [len(call.args[0][0]) for call in decode.call_args_list] == [3, 3, 2]


def test_weights_of_16_bits_are_refused_before_any_is_changed() -> None:
    model = tiny_model()
    before = model.hash
    with pytest.raises(ValueError, match="use autocast"):
        model.to(torch.bfloat16)
    assert model.hash == before
