import numpy as np
import pytest
from PIL import Image

from glow_app.pictures.captions import captioned


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_picture_keeps_its_corner(mode: str) -> None:
    picture = Image.effect_noise((120, 50), 60).convert(mode)  # three columns, two rows
    found = captioned(picture, ["a", "b", "c"], ["first", "second"])
    assert found.mode == mode
    top, left = found.height - 50, found.width - 120
    assert min(top, left) > 10
    assert np.array_equal(np.asarray(found)[top:, left:], np.asarray(picture))
    assert captioned(picture) is picture


def ink(found: Image.Image) -> np.ndarray:
    return np.asarray(found.convert("L")) < 128


def test_each_caption_stands_whole_at_its_place() -> None:
    white = Image.new("L", (120, 50), "white")
    above = ink(captioned(white, ["one", "", "three"]))
    assert [above[:-50, part : part + 40].any() for part in (0, 40, 80)] == [True, False, True]
    left = ink(captioned(white, left=["", "two"]))
    assert [left[part : part + 25, :-120].any() for part in (0, 25)] == [False, True]
    both = ink(captioned(white, ["Qqgj", "Ag"], ["T = 0.85", "T = 1"]))
    assert not both[0].any()
    assert not both[:, 0].any()
