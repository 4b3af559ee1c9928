import math
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from registry import random_images

from glow_app.pictures.images import captioned, grid, picture_of_rows, read_png_text, save_picture, strip, to_pil

GREY, WHITE = 128, 255


def array(picture: Image.Image) -> np.ndarray:
    """Return (H, W, C)."""
    values = np.asarray(picture)
    return values[:, :, None] if values.ndim == 2 else values


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("count", "columns", "expected_rows", "expected_columns"),
    [(6, 3, 2, 3), (7, 3, 3, 3), (5, None, 2, 3), (2, 10, 1, 2), (1, None, 1, 1)],
)
def test_a_grid_has_every_image_in_order(
    channels: int, count: int, columns: int | None, expected_rows: int, expected_columns: int
) -> None:
    images = random_images(count, (channels, 4, 6))
    picture = array(grid(images, columns, min_side=50))
    factor = math.ceil(50 / (expected_columns * 6))
    gap = 2 if factor > 1 else 1
    height, width = 4 * factor + gap, 6 * factor + gap
    assert picture.shape == (expected_rows * height + gap, expected_columns * width + gap, channels)
    rest = np.ones(picture.shape[:2], dtype=bool)
    for index, image in enumerate(images):
        top, left = gap + index // expected_columns * height, gap + index % expected_columns * width
        place = slice(top, top + 4 * factor), slice(left, left + 6 * factor)
        enlarged = np.kron(image.permute(1, 2, 0).numpy(), np.ones((factor, factor, 1), dtype=np.uint8))
        assert np.array_equal(picture[place], enlarged)
        rest[place] = False
    # Thin lines around the images, and white where there is no image.
    hole = np.zeros_like(rest)
    if missing := expected_columns * expected_rows - count:
        hole[-height:, -missing * width :] = True
    assert (picture[rest & ~hole] == GREY).all()
    assert (picture[hole] == WHITE).all()


def test_rows_may_be_of_different_lengths() -> None:
    rows = random_images(3, (1, 4, 6)), random_images(1, (1, 4, 6), seed=1), random_images(2, (1, 4, 6), seed=2)
    picture = np.asarray(picture_of_rows(rows, min_side=1))
    assert picture.shape == (3 * 5 + 1, 3 * 7 + 1)
    for number, row in enumerate(rows):
        for index, image in enumerate(row):
            assert np.array_equal(picture[1 + 5 * number : 5 + 5 * number, 1 + 7 * index : 7 + 7 * index], image[0])
    assert (picture[6:10, 8:] == WHITE).all()
    assert (picture[5, 8:] == GREY).all()


@pytest.mark.parametrize(
    ("num_images", "num_frames", "expected"),
    [
        (2, 5, [[0, 1, 2, 3, 4]]),
        (3, 5, [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8]]),
        (4, 2, [[0, 1], [1, 2], [2, 3]]),
        (2, 12, [list(range(12))]),
        (3, 13, [list(range(7)), list(range(7, 13)), list(range(12, 19)), list(range(19, 25))]),
        (2, 100, [list(range(start, start + 10)) for start in range(0, 100, 10)]),
    ],
)
def test_a_strip_has_a_row_for_each_pair_of_images(num_images: int, num_frames: int, expected: list[list[int]]) -> None:
    frames = random_images((num_images - 1) * (num_frames - 1) + 1, (1, 4, 6))
    picture = strip(frames, num_frames)
    assert np.array_equal(np.asarray(picture), np.asarray(picture_of_rows([frames[row] for row in expected])))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_captions_leave_the_picture_unchanged(mode: str) -> None:
    picture = Image.effect_noise((120, 50), 60).convert(mode)  # three columns, two rows
    result = captioned(picture, ["a", "b", "c"], ["first", "second"])
    assert result.mode == mode
    top, left = result.height - 50, result.width - 120
    assert min(top, left) > 10
    assert np.array_equal(np.asarray(result)[top:, left:], np.asarray(picture))
    assert captioned(picture) is picture


def ink(result: Image.Image) -> np.ndarray:
    return np.asarray(result.convert("L")) < 128


def test_captions_are_drawn_whole_beside_their_rows_and_columns() -> None:
    white = Image.new("L", (120, 50), "white")
    above = ink(captioned(white, ["one", "", "three"]))
    assert [above[:-50, part : part + 40].any() for part in (0, 40, 80)] == [True, False, True]
    left = ink(captioned(white, left=["", "two"]))
    assert [left[part : part + 25, :-120].any() for part in (0, 25)] == [False, True]
    both = ink(captioned(white, ["Qqgj", "Ag"], ["T = 0.85", "T = 1"]))
    assert not both[0].any()
    assert not both[:, 0].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_png_keeps_pixels_and_text_and_replaces_the_file(tmp_path: Path, channels: int) -> None:
    image = random_images(1, (channels, 5, 7))[0]
    path = tmp_path / "a.png"
    path.write_text("old")
    save_picture(to_pil(image), path, {"seed": 7, "note": "grün", "pictures": os.fsdecode(b"\xff.png")})
    assert read_png_text(path) == {"seed": "7", "note": "grün", "pictures": "\\udcff.png"}
    with Image.open(path) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L" if channels == 1 else "RGB")
        assert np.array_equal(array(picture), image.permute(1, 2, 0).numpy())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
    save_picture(to_pil(image), path)
    assert read_png_text(path) == {}


def test_other_files_are_not_read_as_png(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png", format="BMP")
    (tmp_path / "b.png").write_text("words")
    for name in ("a.png", "b.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a PNG"):
            read_png_text(tmp_path / name)
