from collections.abc import Iterable

import pytest
import torch
from registry import random_images
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation import Neighbours, nearest_training_images, nearness


def points(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed)) + shift


def neighbours_among(parts: Iterable[Tensor], queries: Tensor, num: int) -> Neighbours:
    neighbours = Neighbours(queries, num)
    for part in parts:
        neighbours.update(part)
    return neighbours


def test_neighbours_in_parts_are_those_of_the_whole_sort() -> None:
    queries, references = points(7, 0), points(100, 1)
    actual = neighbours_among(references.split(3), queries, 4)
    exact = (queries[:, None] - references[None]).double().square().sum(-1).sqrt()
    expected = exact.sort(dim=1)
    assert torch.equal(actual.indices, expected.indices[:, :4])
    torch.testing.assert_close(actual.distances, expected.values[:, :4], atol=1e-6, rtol=1e-6)
    few = neighbours_among([references[:2]], queries, 4)
    assert few.indices.shape == few.distances.shape == (7, 2)


def test_nearness_of_copies_of_fair_draws_and_of_what_is_far() -> None:
    train = points(400, 7)

    def distance(images: Tensor) -> Tensor:
        return neighbours_among([train], images, 1).distances[:, 0]

    held_out = distance(points(300, 8))
    copies = nearness(distance(train[:300] + 1e-4), held_out)
    assert copies.nearer > 0.99
    assert copies.drawn < 0.01 < copies.held_out
    assert nearness(distance(points(300, 9)), held_out).nearer == pytest.approx(0.5, abs=0.07)
    assert nearness(distance(points(300, 9, 30.0)), held_out).nearer == 0.0
    assert nearness(held_out, held_out).nearer == pytest.approx(0.5)
    assert nearness(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])).nearer == 0.75


class Means:
    """Features of which the right answers are plain: the mean of each channel."""

    name, trained_on, preprocessing, sha256 = "means", "nothing", "none", "0"

    def __call__(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


def test_copies_are_found_by_features_and_by_pixels() -> None:
    train = random_images(50)
    mirrored = train[7:8].flip(-1)  # the features of the 7th, and not its pixels
    brighter = (train[3:4].short() + 9).clamp(max=255).to(torch.uint8)
    drawn = torch.cat([train[20:21], mirrored, brighter])
    image_set = ImageSet(train.numpy(), torch.zeros(50, dtype=torch.int64))
    actual = nearest_training_images(drawn, brighter, image_set, Means(), 8, 3, num_shown=3)
    (by_features, alike), (by_pixels, nearest) = actual["features"], actual["pixels"]
    assert alike.shape == nearest.shape == (3, 3, *train.shape[1:])
    assert torch.equal(alike[:2, 0], train[[20, 7]])
    assert torch.equal(nearest[[0, 2], 0], train[[20, 3]])
    assert by_features.drawn == pytest.approx(0, abs=1e-4)
    difference = (brighter.float() - train[3:4].float()).square().mean().sqrt()
    assert by_pixels.held_out == pytest.approx(float(difference), rel=1e-6)
    assert list(nearest_training_images(drawn, brighter, image_set, None)) == ["pixels"]
