from typing import Any

import pytest
import torch
from registry import random_images, tiny_model
from torch import Tensor

from glow_app.generation import reconstruct, sample_batches
from glow_app.models.image_model import ImageModel

SHAPE = (3, 8, 8)


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


@pytest.fixture(scope="module")
def conditional() -> ImageModel:
    return tiny_model(num_bits=5, num_classes=4)


def sampled(model: ImageModel, num: int, seed: int, **options: object) -> dict[int, Tensor]:
    return dict(sample_batches(model, num, 0.8, seed, **options))  # type: ignore[arg-type]


def test_samples_carry_their_seeds_in_order(model: ImageModel) -> None:
    pairs = list(sample_batches(model, 5, 0.8, 7, batch_size=2))
    assert [seed for seed, _ in pairs] == [7, 8, 9, 10, 11]
    images = torch.stack([image for _, image in pairs])
    assert (images.dtype, images.shape) == (torch.uint8, (5, *SHAPE))
    assert len(images.unique(dim=0)) == 5
    assert torch.equal(torch.stack([*sampled(model, 16, 7).values()]), model.sample(16, 0.8, 7))


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_sample_depends_on_its_own_seed(model: ImageModel, batch_size: int) -> None:
    many = sampled(model, 6, 7, batch_size=batch_size)
    (one,) = sampled(model, 1, 9, batch_size=batch_size).values()
    assert torch.equal(one, many[9])


@pytest.mark.parametrize(("batch_size", "sizes"), [(20, [5]), (16, [16]), (3, [3, 3])])
def test_a_large_batch_draws_no_more_than_is_asked_for(
    model: ImageModel, monkeypatch: pytest.MonkeyPatch, batch_size: int, sizes: list[int]
) -> None:
    drawn: list[int] = []

    def sample(num: int, *_: object) -> Tensor:
        drawn.append(num)
        return torch.zeros(num, *SHAPE)

    monkeypatch.setattr(model, "sample", sample)
    assert len(sampled(model, 5, 7, batch_size=batch_size)) == 5
    assert drawn == sizes


@pytest.mark.parametrize(
    ("size", "at_a_time", "drawn"),
    [((64, 64), 3, [4, 3]), ((64, 64), 64, [4, 4]), (SHAPE[1:], 1, [4, 4])],
)
def test_larger_images_are_not_drawn_to_fill_a_batch(
    model: ImageModel,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int] | None,
    at_a_time: int,
    drawn: list[int],
) -> None:
    full = model.sample(8, 0.8, 7, size=size)
    # As many images as a CPU decodes at a time follow from the width of the conditioners.
    for place in ("generation.sample", "models.sampled_model"):
        monkeypatch.setattr(f"glow_app.{place}.images_at_a_time", lambda *_: at_a_time, raising=False)
    counts: list[int] = []
    sample = model.sample

    def watched(num: int, *arguments: Any) -> Tensor:
        counts.append(num)
        return sample(num, *arguments)

    monkeypatch.setattr(model, "sample", watched)
    images = torch.stack([*sampled(model, 5, 7, batch_size=4, size=size).values()])
    assert counts == drawn
    assert (images.int() - full[:5].int()).abs().max() <= 1


def test_classes_take_turns_by_seed(conditional: ImageModel) -> None:
    turns = sampled(conditional, 6, 3)
    for seed in turns:
        alone = sampled(conditional, 1, seed, label=seed % 4)
        assert torch.equal(turns[seed], alone[seed])
    assert not torch.equal(turns[3], sampled(conditional, 1, 3, label=0)[3])


def test_a_label_must_fit(model: ImageModel, conditional: ImageModel) -> None:
    with pytest.raises(ValueError, match="not class-conditional"):
        list(sample_batches(model, 1, 1.0, 0, label=1))
    with pytest.raises(ValueError, match="0 to 3"):
        list(sample_batches(conditional, 1, 1.0, 0, label=4))
    with pytest.raises(ValueError, match="num is 0; expected"):
        sampled(model, 0, 0)


@pytest.mark.parametrize("num_bits", [1, 5, 8])
def test_reconstruction_is_exact_in_the_models_bits(num_bits: int) -> None:
    images = random_images(16)
    result = reconstruct(tiny_model(num_bits=num_bits), images)
    bins = 2**num_bits
    levels = images.to(torch.int64) * bins // 256
    expected = (levels * 255 / (bins - 1)).round().to(torch.uint8)
    assert torch.equal(result.images, expected)
    assert result.max_pixel_error == 0
    assert result.max_quantisation == int((expected.int() - images.int()).abs().max())
    assert (result.max_quantisation == 0) == (num_bits == 8)
