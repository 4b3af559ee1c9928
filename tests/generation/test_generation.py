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
