import pytest
import torch
from registry import random_images, tiny_model

from glow_app.generation import reconstruct, sample_batches


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_samples_carry_their_seeds_in_order(batch_size: int) -> None:
    model = tiny_model()
    pairs = list(sample_batches(model, 5, 0.8, 7, batch_size=batch_size))
    assert [seed for seed, _ in pairs] == [7, 8, 9, 10, 11]
    assert torch.equal(torch.stack([image for _, image in pairs]), model.sample(5, 0.8, 7))


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
