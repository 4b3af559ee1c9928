import numpy as np
import pytest
from PIL import Image

from glow_app.data.resizing import array_to_image, convert_array, resize_image


@pytest.fixture
def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 1, 6, 4), dtype=np.uint8)


@pytest.fixture
def colour() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (5, 3, 6, 4), dtype=np.uint8)


def test_native_shape_is_untouched(colour: np.ndarray) -> None:
    assert convert_array(colour, (3, 6, 4), "crop") is colour


def test_rgb_to_grey_is_pillows_formula(colour: np.ndarray) -> None:
    expected = [np.asarray(array_to_image(image).convert("L"))[None] for image in colour]
    assert np.array_equal(convert_array(colour, (1, 6, 4), "crop"), np.stack(expected))


def test_pad_of_smaller_images_adds_a_plain_border(grey: np.ndarray) -> None:
    padded = convert_array(grey, (1, 9, 8), "pad")
    assert padded.shape == (5, 1, 9, 8)
    assert np.array_equal(padded[:, :, 1:7, 2:6], grey)
    padded[:, :, 1:7, 2:6] = 0
    assert not padded.any()


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 12, 3), (1, 3, 2)])
def test_any_size(grey: np.ndarray, shape: tuple[int, int, int], resize: str) -> None:
    converted = convert_array(grey, shape, resize)  # type: ignore[arg-type]
    assert converted.shape == (5, *shape)
    assert converted.dtype == np.uint8


def test_crop_keeps_the_centre() -> None:
    wide = np.zeros((4, 12), dtype=np.uint8)
    wide[:, 4:8] = 200
    assert (np.asarray(resize_image(Image.fromarray(wide), 4, 4, "crop")) == 200).all()


def test_stretch_keeps_the_edges() -> None:
    wide = np.repeat(np.repeat(np.array([[0, 255]], dtype=np.uint8), 4, axis=0), 8, axis=1)
    stretched = np.asarray(resize_image(Image.fromarray(wide), 4, 4, "stretch"))
    assert (stretched[:, 0] < 30).all()
    assert (stretched[:, -1] > 225).all()


def test_pad_of_an_image_scales_and_centres() -> None:
    padded = np.asarray(resize_image(Image.new("L", (16, 8), 255), 8, 8, "pad"))
    assert (padded[2:6] == 255).all()
    assert not padded[:2].any()
    assert not padded[6:].any()


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    shrunk = np.asarray(resize_image(Image.fromarray(stripes), 8, 8, "stretch")).astype(int)
    assert abs(shrunk - 127).max() < 20
