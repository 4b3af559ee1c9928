from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import random_images

from glow_app.pictures.animations import animation_bytes

THERE_AND_BACK = [0, 1, 2, 3, 2, 1]


def played(path: Path) -> tuple[np.ndarray, list[int]]:
    """Return the frames of a file, (N, H, W, 3), and how long each is shown."""
    frames, times = [], []
    with Image.open(path) as picture:
        for number in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(number)
            picture.load()
            frames.append(np.asarray(picture.convert("RGB")))
            times.append(picture.info["duration"])
    return np.stack(frames), times


@pytest.mark.parametrize(("suffix", "channels"), [("gif", 1), ("webp", 1), ("webp", 3)])
def test_an_animation_keeps_every_pixel_and_lasts_as_requested(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    images = random_images(4, (channels, 8, 10))
    expected = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()[THERE_AND_BACK]
    path.write_bytes(animation_bytes(images, path.suffix, seconds=2.0, min_side=20))
    frames, times = played(path)
    assert np.array_equal(frames[:, ::2, ::2], expected)
    assert times == [{"gif": 330, "webp": 333}[suffix]] * 6
    path.write_bytes(animation_bytes(images, path.suffix, seconds=0.05, min_side=1))
    frames, times = played(path)
    assert np.array_equal(frames, expected)
    assert times == [20] * 6


def test_a_gif_in_colour_has_the_colours_of_its_frames(tmp_path: Path) -> None:
    images = torch.stack([torch.full((3, 8, 8), 40 * number, dtype=torch.uint8) for number in range(4)])
    (tmp_path / "a.gif").write_bytes(animation_bytes(images, ".gif", min_side=1))
    frames, _ = played(tmp_path / "a.gif")
    assert np.array_equal(frames, images.permute(0, 2, 3, 1).numpy()[THERE_AND_BACK])
