import io

import numpy as np
import pytest
import torch
from PIL import Image
from registry import random_images, tiny_model

from glow_app.models.image_model import ImageModel
from glow_app.pipeline import Measures, measure
from glow_app.pipeline.scoring import png_bits_per_dim
from glow_app.seeding import image_generators


@pytest.fixture(scope="module")
def model() -> ImageModel:
    return tiny_model()


def test_what_is_measured(model: ImageModel) -> None:
    images = random_images(5)
    measures = measure(model, images, draws=3, seeds=[4, 5, 6, 7, 8])
    expected = model.bits_per_dim(images, None, 3, image_generators([4, 5, 6, 7, 8]))
    torch.testing.assert_close(measures.bits_per_dim, expected)
    one = measure(model, images, seeds=[4, 5, 6, 7, 8])
    torch.testing.assert_close(measures.level_bits, one.level_bits)
    torch.testing.assert_close(one.level_bits.sum(1), one.bits_per_dim)
    for number, level in enumerate(model.encode(images)):
        torch.testing.assert_close(measures.level_norms[:, number], (level**2).mean((1, 2, 3)))
    assert float(measures.png_bits_per_dim[2]) == pytest.approx(png_bits_per_dim(images[2:3].numpy(), 8))


def test_an_image_is_measured_by_itself(model: ImageModel) -> None:
    images = random_images(5)
    many, alone = measure(model, images, draws=2), measure(model, images[3:4], draws=2, seeds=[3])
    for name in ("bits_per_dim", "level_bits", "level_norms", "png_bits_per_dim"):
        torch.testing.assert_close(getattr(many, name)[3:4], getattr(alone, name))
    joined = Measures.joined([many, alone])
    assert len(joined) == 6
    assert torch.equal(joined.level_norms, torch.cat([many.level_norms, alone.level_norms]))
    with pytest.raises(ValueError, match="2 seeds for 5 images"):
        measure(model, images, seeds=[1, 2])


def images(num: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, *shape), dtype=np.uint8)


def png_bits(strip: np.ndarray, size: int) -> float:
    file = io.BytesIO()
    Image.fromarray(strip).save(file, format="PNG", optimize=True)
    return 8 * len(file.getvalue()) / size


@pytest.mark.parametrize(("channels", "num_bits"), [(3, 8), (1, 8), (1, 5)])
def test_a_png_of_all_images_below_each_other(channels: int, num_bits: int) -> None:
    pictures = images(12, (channels, 4, 5))[::2]  # a view
    strip = pictures.transpose(0, 2, 3, 1).reshape(24, 5, channels).squeeze() >> (8 - num_bits)
    assert png_bits_per_dim(pictures, num_bits) == png_bits(strip, pictures.size)


@pytest.mark.parametrize("num_bits", [1, 2, 4])
def test_few_bits_are_packed(num_bits: int) -> None:
    # Noise cannot be compressed: packed it costs its bits, unpacked more than that and less than 8.
    pictures = images(400, (1, 8, 8))
    found = png_bits_per_dim(pictures, num_bits)
    assert num_bits < found < num_bits + 0.3 * (8 - num_bits)
    assert found < png_bits((pictures >> (8 - num_bits)).reshape(-1, 8), pictures.size)
