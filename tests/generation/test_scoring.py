import math

import pytest
import torch
from registry import random_images, tiny_model

from glow_app.generation import ODDITIES, Measures, detect, measure
from glow_app.generation.baselines import png_bits_per_dim
from glow_app.generation.scoring import Typical, oddities
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generators


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


def measures(bits: list[float], levels: list[list[float]], norms: list[list[float]], pngs: list[float]) -> Measures:
    return Measures(torch.tensor(bits), torch.tensor(levels), torch.tensor(norms), torch.tensor(pngs))


def test_what_is_measured(model: ImageModel) -> None:
    images = random_images(5)
    found = measure(model, images, num_draws=3, seeds=[4, 5, 6, 7, 8])
    expected = model.bits_per_dim(images, None, 3, image_generators([4, 5, 6, 7, 8]))
    torch.testing.assert_close(found.bits_per_dim, expected)
    one = measure(model, images, seeds=[4, 5, 6, 7, 8])
    torch.testing.assert_close(found.level_bits, one.level_bits)
    torch.testing.assert_close(one.level_bits.sum(1), one.bits_per_dim)
    for number, level in enumerate(model.encode(images)):
        torch.testing.assert_close(found.level_norms[:, number], (level**2).mean((1, 2, 3)))
    assert float(found.png_bits_per_dim[2]) == pytest.approx(png_bits_per_dim(images[2:3].numpy(), 8))


def test_an_image_is_measured_by_itself(model: ImageModel) -> None:
    images = random_images(5)
    many, alone = measure(model, images, num_draws=2), measure(model, images[3:4], num_draws=2, seeds=[3])
    for name in ("bits_per_dim", "level_bits", "level_norms", "png_bits_per_dim"):
        torch.testing.assert_close(getattr(many, name)[3:4], getattr(alone, name))
    joined = Measures.joined([many[:2], many[2:]])
    assert all(torch.equal(getattr(joined, name), getattr(many, name)) for name in ("bits_per_dim", "level_norms"))
    assert len(joined) == 5
    with pytest.raises(ValueError, match="2 seeds for 5 images"):
        measure(model, images, seeds=[1, 2])


def test_oddities_are_the_formulas() -> None:
    usual = measures([1.0, 3.0], [[0.0, 1.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 3.0]], [0.0, 0.0])
    typical = Typical.of(usual)
    root = math.sqrt(2)  # the standard deviation of 0 and 2
    scored = oddities(measures([5.0, 1.5], [[3.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [1.0, 4.0]], [2.0, 3.0]), typical)
    assert set(scored) == set(ODDITIES)
    assert scored["bits_per_dim"].tolist() == [5.0, 1.5]
    assert scored["typicality"].tolist() == [3.0, 0.5]
    assert scored["png_ratio"].tolist() == [3.0, -1.5]
    assert scored["spectrum"].tolist() == pytest.approx([2 / root / root, 0.0])
    assert scored["latent_norm"].tolist() == pytest.approx([0.0, 2 / root / root])
    assert list(oddities(usual, None)) == ["bits_per_dim", "png_ratio"]
    with pytest.raises(ValueError, match="need at least 2, preferably 100; got 1"):
        Typical.of(usual[:1])


def test_detection_of_what_is_plainly_odd_and_of_what_is_not() -> None:
    generator = torch.Generator().manual_seed(0)

    def some(count: int, shift: float) -> Measures:
        noise = torch.randn(count, 5, generator=generator)
        return Measures(noise[:, 0] + shift, noise[:, 1:3], noise[:, 3:5] ** 2, torch.zeros(count))

    found = detect(some(400, 0.0), some(100, 10.0))
    for name in ("bits_per_dim", "typicality", "png_ratio"):
        assert (found[name].auroc, found[name].aupr) == pytest.approx((1.0, 1.0))
    for name in ("latent_norm", "spectrum"):
        assert found[name].auroc == pytest.approx(0.5, abs=0.1)
        assert found[name].aupr == pytest.approx(1 / 3, abs=0.1)
    assert len(found["spectrum"].ordinary) == 200
    # Odd in being too likely: the likelihood itself says the contrary.
    likely = detect(some(400, 0.0), some(100, -10.0))
    assert likely["bits_per_dim"].auroc == 0.0
    assert likely["typicality"].auroc == 1.0
    # Images that have the same score are a coin.
    same = measures([1.0] * 8, [[1.0, 1.0]] * 8, [[1.0, 1.0]] * 8, [0.0] * 8)
    assert all(one.auroc == 0.5 for one in detect(same, same).values())


def test_detection_does_not_depend_on_the_order_of_the_classes() -> None:
    generator = torch.Generator().manual_seed(0)

    def two_classes(count: int) -> Measures:
        noise = torch.randn(2 * count, 5, generator=generator)
        noise[count:, 1:] += 20
        return Measures(noise[:, 0], noise[:, 1:3], noise[:, 3:5], torch.zeros(2 * count))

    detections = detect(two_classes(200), two_classes(200))  # nothing is odd
    assert len(detections["spectrum"].ordinary) == 200
    for name in ("spectrum", "latent_norm"):
        assert detections[name].auroc == pytest.approx(0.5, abs=0.1)
