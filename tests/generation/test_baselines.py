import io
import math
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from glow_app.generation.baselines import histogram_bits_per_dim, png_bits_per_dim


def images(num: int, shape: tuple[int, int, int] = (1, 2, 3), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num, *shape), dtype=np.uint8)


@pytest.mark.parametrize("num_bits", [1, 2, 5, 8])
@pytest.mark.parametrize("shape", [(1, 2, 3), (3, 2, 2)])
def test_the_histogram_by_counting(num_bits: int, shape: tuple[int, int, int]) -> None:
    train, test = images(7, shape), images(4, shape, seed=1)
    bins, shift = 2**num_bits, 8 - num_bits
    bits = 0.0
    for image in test:
        for place in np.ndindex(shape):
            level = int(image[place]) >> shift
            count = sum(int(other[place]) >> shift == level for other in train)
            bits -= math.log2(Fraction(count + 1, len(train) + bins))
    expected = bits / (len(test) * math.prod(shape))
    assert histogram_bits_per_dim(train, test, num_bits) == pytest.approx(expected, rel=1e-12)


def test_the_histogram_is_a_distribution() -> None:
    train = images(5, (1, 1, 1))
    every = np.arange(256, dtype=np.uint8)[::16].reshape(16, 1, 1, 1)
    total = sum(2 ** -histogram_bits_per_dim(train, value[None], 4) for value in every)
    assert total == pytest.approx(1.0, rel=1e-12)


def test_the_histogram_in_several_parts() -> None:
    train, test = images(5000, (1, 1, 2)), images(4500, (1, 1, 2), seed=1)
    parts = [histogram_bits_per_dim(train, part, 3) * len(part) for part in np.array_split(test, 3)]
    assert histogram_bits_per_dim(train, test, 3) == pytest.approx(sum(parts) / len(test), rel=1e-12)


def test_known_pixels_cost_less_than_noise() -> None:
    constant = np.full((200, 1, 2, 2), 77, dtype=np.uint8)
    assert histogram_bits_per_dim(constant, constant, 4) == pytest.approx(math.log2(216 / 201))
    assert histogram_bits_per_dim(images(2000), images(500, seed=1), 4) == pytest.approx(4, abs=0.05)


def png_size(picture: Image.Image, **options: int) -> int:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True, **options)
    return len(file.getvalue())


def test_one_png_of_colour_images() -> None:
    pictures = images(6, (3, 4, 5))
    strip = np.concatenate([image.transpose(1, 2, 0) for image in pictures])
    assert strip.shape == (24, 5, 3)
    assert png_bits_per_dim(pictures, 8) == 8 * png_size(Image.fromarray(strip)) / pictures.size


def test_one_png_of_grey_images() -> None:
    pictures = images(6, (1, 4, 5))
    strip = pictures.reshape(24, 5)
    assert png_bits_per_dim(pictures, 8) == 8 * png_size(Image.fromarray(strip)) / pictures.size
    assert png_bits_per_dim(pictures, 5) == 8 * png_size(Image.fromarray(strip >> 3)) / pictures.size


@pytest.mark.parametrize("num_bits", [1, 2, 4])
def test_few_bits_are_packed(num_bits: int) -> None:
    # Noise cannot be compressed: packed it costs its bits, unpacked more than that and less than 8.
    pictures = images(400, (1, 8, 8))
    found = png_bits_per_dim(pictures, num_bits)
    assert num_bits < found < num_bits + 0.3 * (8 - num_bits)
    unpacked = 8 * png_size(Image.fromarray((pictures >> (8 - num_bits)).reshape(-1, 8))) / pictures.size
    assert found < unpacked


def test_a_png_pays_for_surprise_only() -> None:
    constant = np.full((400, 1, 8, 8), 77, dtype=np.uint8)
    assert png_bits_per_dim(constant, 8) < 0.1 < 8 < png_bits_per_dim(images(400, (1, 8, 8)), 8) < 9.2


@pytest.mark.parametrize("channels", [1, 3])
def test_views_and_subsets_are_the_same_numbers(channels: int) -> None:
    pictures = images(20, (channels, 4, 4))
    view, copy = pictures[::2], np.ascontiguousarray(pictures[::2])
    assert png_bits_per_dim(view, 4) == png_bits_per_dim(copy, 4)
    assert histogram_bits_per_dim(view, view, 4) == histogram_bits_per_dim(copy, copy, 4)
