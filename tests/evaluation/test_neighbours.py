import pytest
import torch
from torch import Tensor

from glow_app.evaluation import Neighbours, nearness, precision_recall


def points(num: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(num, 5, generator=torch.Generator().manual_seed(seed)) + shift


def test_neighbours_in_parts_are_those_of_the_whole_sort() -> None:
    queries, references = points(7, 0), points(100, 1)
    found = Neighbours(queries, 4).update_all(references.split(3))
    exact = (queries[:, None] - references[None]).double().square().sum(-1).sqrt()
    expected = exact.sort(dim=1)
    assert torch.equal(found.indices, expected.indices[:, :4])
    torch.testing.assert_close(found.distances, expected.values[:, :4], atol=1e-6, rtol=1e-6)
    few = Neighbours(queries, 4).update_all([references[:2]])
    assert few.indices.shape == few.distances.shape == (7, 2)


def test_precision_and_recall_are_the_definition() -> None:
    real, drawn = points(60, 2), points(40, 3, 0.7)

    def share(inside: Tensor, centres: Tensor) -> float:
        own = (centres[:, None] - centres[None]).norm(dim=-1)
        radii = own.sort(dim=1).values[:, 3]  # the image itself comes first
        return float(((inside[:, None] - centres[None]).norm(dim=-1) <= radii).any(1).float().mean())

    found = precision_recall(real, drawn)
    assert (found.precision, found.recall) == (pytest.approx(share(drawn, real)), pytest.approx(share(real, drawn)))
    assert 0.2 < found.recall < found.precision < 1
    assert found.num_neighbours == 3


def test_precision_and_recall_of_the_cases_that_they_tell_apart() -> None:
    real = points(300, 4)
    same = precision_recall(real, real)
    assert (same.precision, same.recall) == (1.0, 1.0)
    far = precision_recall(real, points(300, 5, 50.0))
    assert (far.precision, far.recall) == (0.0, 0.0)
    # One mode of the data alone: all that is drawn looks real, and little of what is real is drawn.
    collapsed = precision_recall(real, real[:1] + 1e-3 * points(300, 6))
    assert collapsed.precision == 1.0
    assert collapsed.recall < 0.05
    with pytest.raises(ValueError, match="at least 4 images"):
        precision_recall(real[:3], real)


def test_nearness_of_copies_of_fair_draws_and_of_what_is_far() -> None:
    train = points(400, 7)

    def distance(images: Tensor) -> Tensor:
        return Neighbours(images, 1).update_all([train]).distances[:, 0]

    held_out = distance(points(300, 8))
    copies = nearness(distance(train[:300] + 1e-4), held_out)
    assert copies.nearer > 0.99
    assert copies.drawn < 0.01 < copies.held_out
    assert nearness(distance(points(300, 9)), held_out).nearer == pytest.approx(0.5, abs=0.07)
    assert nearness(distance(points(300, 9, 30.0)), held_out).nearer == 0.0
    assert nearness(held_out, held_out).nearer == pytest.approx(0.5)
    assert nearness(torch.tensor([1.0, 1.0]), torch.tensor([1.0, 2.0])).nearer == 0.75
