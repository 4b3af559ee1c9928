import re

import pytest

from glow_app.flows.multiscale import level_shapes


def test_shapes_inside_the_levels() -> None:
    assert level_shapes((3, 32, 32), 3) == [(12, 16, 16), (24, 8, 8), (48, 4, 4)]
    assert level_shapes((1, 8, 24), 3) == [(4, 4, 12), (8, 2, 6), (16, 1, 3)]
    assert level_shapes([2, 2, 6], 1) == [(8, 1, 3)]


@pytest.mark.parametrize(
    ("shape", "num_levels", "message"),
    [
        ((3, 32, 32), 6, "images 32 wide and 32 high can be halved 5 times, so num_levels must be from 1 to 5"),
        ((3, 8, 24), 4, "images 24 wide and 8 high can be halved 3 times, so num_levels must be from 1 to 3"),
        ((3, 24, 8), 4, "images 8 wide and 24 high can be halved 3 times, so num_levels must be from 1 to 3"),
        ((3, 28, 6), 2, "images 6 wide and 28 high can be halved 1 time, so num_levels must be from 1 to 1"),
        ((3, 32, 32), 0, "images 32 wide and 32 high can be halved 5 times, so num_levels must be from 1 to 5"),
        ((3, 32, 32), -1, "num_levels must be from 1 to 5"),
        ((3, 7, 8), 1, "image_shape is (3, 7, 8); height and width must be even"),
        ((3, 8, 7), 1, "image_shape is (3, 8, 7); height and width must be even"),
        ((3, 1, 8), 1, "height and width must be even"),
        ((8, 8), 1, "image_shape is (8, 8); expected (channels, height, width)"),
        ((2, 3, 8, 8), 1, "expected (channels, height, width)"),
        ((0, 8, 8), 1, "image_shape is (0, 8, 8); expected (channels, height, width), each at least 1"),
        ((3, 0, 8), 1, "each at least 1"),
        ((3, 8, -8), 1, "each at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], num_levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        level_shapes(shape, num_levels)


@pytest.mark.parametrize("side", [2, 4, 6, 12, 28, 32, 40, 96, 218])
def test_the_largest_number_of_levels_is_valid_and_the_next_is_not(side: int) -> None:
    with pytest.raises(ValueError, match="num_levels must be from 1 to") as caught:
        level_shapes((3, side, side), 99)
    largest = int(str(caught.value).rsplit(" ", 1)[1])
    assert len(level_shapes((3, side, side), largest)) == largest
    assert (side >> largest) % 2 == 1
