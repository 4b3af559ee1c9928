import io

import numpy as np
import pytest
from PIL import Image

from glow_app.generation.baselines import png_bits_per_dim


def images(num: int, shape: tuple[int, int, int] = (1, 2, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *shape), dtype=np.uint8)


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
