import re

import pytest

from glow_app.flows.multiscale import level_shapes


def test_shapes_inside_the_levels() -> None:
    assert level_shapes((3, 32, 32), 3) == [(12, 16, 16), (24, 8, 8), (48, 4, 4)]
    assert level_shapes((1, 8, 24), 3) == [(4, 4, 12), (8, 2, 6), (16, 1, 3)]


@pytest.mark.parametrize(
    ("shape", "num_levels", "message"),
    [
        ((3, 8, 24), 4, "images 24 wide and 8 high can be halved 3 times, so num_levels must be from 1 to 3"),
        ((3, 28, 6), 2, "num_levels must be from 1 to 1"),
        ((3, 32, 32), 0, "num_levels must be from 1 to 5"),
        ((3, 7, 8), 1, "height and width must be even"),
        ((8, 8), 1, "expected (channels, height, width)"),
        ((0, 8, 8), 1, "each at least 1"),
        ((3, 8, -8), 1, "each at least 1"),
    ],
)
def test_an_invalid_shape_is_refused(shape: tuple[int, ...], num_levels: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        level_shapes(shape, num_levels)


@pytest.mark.parametrize("side", [2, 6, 28, 32, 218])
def test_the_largest_number_of_levels_is_valid_and_the_next_is_not(side: int) -> None:
    with pytest.raises(ValueError, match="num_levels must be from 1 to") as caught:
        level_shapes((3, side, side), 99)
    largest = int(str(caught.value).rsplit(" ", 1)[1])
    assert len(level_shapes((3, side, side), largest)) == largest
    assert (side >> largest) % 2 == 1
