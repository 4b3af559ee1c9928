from functools import partial

import pytest
import torch
from registry import random_images, tiny_model
from torch import Tensor

from glow_app.models.image_model import ImageModel
from glow_app.pipeline import infer, measure
from glow_app.priors import CNFPrior
from glow_app.seeding import image_generators

BITS_TO_NATS = 192 * torch.log(torch.tensor(2.0, dtype=torch.float64))


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model(num_classes=4, dtype=torch.float64)


def by_hand(model: ImageModel, images: Tensor, seeds: list[int], draws: int = 1) -> Tensor:
    """Return log-densities of images under each class of each draw, (K, M, B), nats."""
    generators = [image_generators(seeds) for _ in range(4)]
    pairs = list(zip(torch.arange(4)[:, None].expand(-1, len(images)), generators, strict=True))
    table = [[model(images, *pair) for pair in pairs] for _ in range(draws)]
    return -BITS_TO_NATS * torch.stack([torch.stack(draw) for draw in table]).detach()


def test_bits_given_nothing_are_those_of_the_mean_density_over_classes_and_draws(model: ImageModel) -> None:
    images, seeds = random_images(5), [3, 1, 4, 1, 5]
    nats = by_hand(model, images, seeds, 3).flatten(0, 1)
    expected = -(torch.logsumexp(nats, 0) - torch.log(torch.tensor(12.0))) / BITS_TO_NATS
    actual = model.bits_per_dim(images, None, 3, image_generators(seeds))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-7)


def test_the_most_likely_classes_are_inferred(model: ImageModel) -> None:
    images = random_images(17)
    likeliest = infer(model, images)
    assert likeliest is not None
    assert torch.equal(likeliest, by_hand(model, images, [0] * 17)[0].argmax(0))
    assert len(set(likeliest.tolist())) > 1
    # An image's class depends on no other image.
    assert [infer(model, image[None]) for image in images] == likeliest.tolist()
    given = infer(model, images, [3] * 17)
    assert given is not None
    assert given.tolist() == [3] * 17
    assert infer(tiny_model(), images) is None


def test_what_is_measured_given_nothing(model: ImageModel) -> None:
    images, seeds = random_images(5), [4, 5, 6, 7, 8]
    actual = measure(model, images, draws=2, seeds=seeds)
    torch.testing.assert_close(actual.bits_per_dim, model.bits_per_dim(images, None, 2, image_generators(seeds)))
    labels = by_hand(model, images, seeds)[0].argmax(0)
    assert actual.given is not None
    assert torch.equal(actual.given, labels)
    assert len(set(labels.tolist())) > 1
    given = measure(model, images, labels, seeds=seeds)
    torch.testing.assert_close(actual.level_bits, given.level_bits)
    assert torch.equal(actual.level_norms, given.level_norms)
    assert given.given is not None
    assert torch.equal(given.given, labels)


def test_the_noise_of_traces_is_the_same_under_every_class() -> None:
    prior = partial(CNFPrior, hidden_features=4, trace="hutchinson", eval_solver="rk4")
    model = tiny_model(num_classes=3, prior=prior)
    with torch.no_grad():
        model.conditioning.embedding.weight.fill_(0.5)  # type: ignore[operator, union-attr]
    first, *others = model.bits_table(random_images(4)).bits[0]
    for other in others:
        torch.testing.assert_close(other, first)
