import numpy as np
import pytest
from PIL import Image

from glow_app.data.resizing import array_to_image, convert_array, resize_image
from glow_app.data.splits import Resize

GREY = np.random.default_rng(0).integers(0, 256, (5, 1, 6, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (5, 3, 6, 4), dtype=np.uint8)


def test_rgb_to_grey_is_pillows_formula() -> None:
    expected = [np.asarray(array_to_image(image).convert("L"))[None] for image in COLOUR]
    assert np.array_equal(convert_array(COLOUR, (1, 6, 4), "crop"), np.stack(expected))


def test_pad_of_smaller_images_adds_a_plain_border() -> None:
    padded = convert_array(GREY, (1, 9, 8), "pad")
    assert padded.shape == (5, 1, 9, 8)
    assert np.array_equal(padded[:, :, 1:7, 2:6], GREY)
    padded[:, :, 1:7, 2:6] = 0
    assert not padded.any()


@pytest.mark.parametrize("resize", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 12, 3), (1, 3, 2)])
def test_any_size(shape: tuple[int, int, int], resize: str) -> None:
    converted = convert_array(GREY, shape, resize)  # type: ignore[arg-type]
    assert converted.shape == (5, *shape)
    assert converted.dtype == np.uint8


def test_shrinking_is_antialiased() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    shrunk = np.asarray(resize_image(Image.fromarray(stripes), 8, 8, "stretch")).astype(int)
    assert abs(shrunk - 127).max() < 20


@pytest.mark.parametrize(
    ("resize", "columns"), [("crop", [80, 112, 144, 175]), ("stretch", [32, 96, 160, 224]), ("pad", [32, 96, 160, 224])]
)
def test_resizing_a_wide_picture(resize: Resize, columns: list[int]) -> None:
    wide = Image.fromarray(np.linspace(0, 255, 96, dtype=np.uint8)[None].repeat(48, axis=0))
    resized = np.asarray(resize_image(wide, 4, 4, resize)).astype(int)
    assert abs(resized[1:3] - columns).max() < 8
    assert [bool(resized[row].any()) for row in (0, 3)] == [resize != "pad"] * 2
