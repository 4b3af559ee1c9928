import pytest
import torch
from registry import random_images
from torch import Tensor

from glow_app.data.image_set import ImageSet
from glow_app.evaluation import FeatureExtractor, nearest_training_images, nearness
from glow_app.evaluation.neighbours import nearest


def points(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed)) + shift


def test_neighbours_in_parts_are_those_of_the_whole_sort() -> None:
    queries, references = points(7, 0), points(100, 1)
    exact = torch.cdist(queries, references)
    expected, best = exact.sort(dim=1), nearest(exact[:, :3], None, 0, 4)
    assert best[0].shape == best[1].shape == (7, 3)
    for first in range(3, 100, 3):
        best = nearest(exact[:, first : first + 3], best, first, 4)
    assert torch.equal(best[0], expected.values[:, :4])
    assert torch.equal(best[1], expected.indices[:, :4])


def test_nearness_of_copies_of_fair_draws_and_of_what_is_far() -> None:
    train = points(400, 7)

    def distance(images: Tensor) -> Tensor:
        return torch.cdist(images, train).topk(4, largest=False).values

    held_out = distance(points(300, 8))
    copies = nearness(distance(train[:300] + 1e-4), held_out)
    assert copies > 0.99
    assert nearness(distance(points(300, 9)), held_out) == pytest.approx(0.5, abs=0.07)
    assert nearness(distance(points(300, 9, 30.0)), held_out) < 0.4
    assert nearness(distance(points(300, 9) / 5), held_out) < 0.4, "blurred draws, near to all"
    assert nearness(held_out, held_out) == pytest.approx(0.5)
    assert nearness(torch.tensor([[1.0, 4.0], [2.0, 8.0]]), torch.tensor([[1.0, 4.0], [2.0, 4.0]])) == 0.75


def test_copies_are_found_by_features_and_by_pixels() -> None:
    means = FeatureExtractor("means", "nothing", "none", "0", lambda images: images.float().mean((2, 3)))
    train = random_images(50)
    mirrored = train[7:8].flip(-1)  # the features of the 7th, and not its pixels
    brighter = (train[3:4].short() + 9).clamp(max=255).to(torch.uint8)
    drawn = torch.cat([train[20:21], mirrored, brighter])
    image_set = ImageSet(train.numpy(), torch.zeros(50, dtype=torch.int64))
    actual = nearest_training_images(drawn, brighter, image_set, means, 8, num_shown=3)
    (_, alike), (by_pixels, near) = actual["features"], actual["pixels"]
    assert alike.shape == near.shape == (3, 4, *train.shape[1:])
    assert torch.equal(alike[:2, 0], train[[20, 7]])
    assert torch.equal(near[[0, 2], 0], train[[20, 3]])
    assert by_pixels == pytest.approx((1 + 0 + 0.5) / 3)  # a copy, something far, and the held-out image itself
