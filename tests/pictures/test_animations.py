from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from registry import random_images

from glow_app.pictures.animations import save_animation


def played(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Return the frames of a file, and how long each is shown."""
    frames, times = [], []
    with Image.open(path) as picture:
        for number in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(number)
            picture.load()
            frames.append(np.atleast_3d(np.asarray(picture.convert("RGB"))))
            times.append(picture.info["duration"])
    return frames, times


@pytest.mark.parametrize(("suffix", "channels"), [("gif", 1), ("webp", 1), ("webp", 3)])
def test_every_pixel_is_played_for_the_seconds_asked(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    images = random_images(4, (channels, 8, 10))
    expected = images.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    assert save_animation(images, path, seconds=1.5, there_and_back=False, min_side=1) == 1.5
    frames, times = played(path)
    assert np.array_equal(np.stack(frames), expected)
    assert sum(times) == 1500
    assert save_animation(images, path, seconds=2.0, min_side=20) == 2.0
    frames, times = played(path)
    assert np.array_equal(np.stack(frames)[:, ::2, ::2], expected[[0, 1, 2, 3, 2, 1]])
    assert sum(times) == 2000
    assert max(times) - min(times) <= 10
    assert save_animation(images, path, seconds=0.05, there_and_back=False) == 0.08
    assert played(path)[1] == [20] * 4


def test_a_gif_in_colour_is_close(tmp_path: Path) -> None:
    frames = torch.stack([torch.full((3, 8, 8), 40 * number, dtype=torch.uint8) for number in range(4)])
    save_animation(frames, tmp_path / "a.gif", there_and_back=False, min_side=1)
    assert [frame[3, 3].tolist() for frame in played(tmp_path / "a.gif")[0]] == [
        [40 * number] * 3 for number in range(4)
    ]


def test_one_frame_and_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        save_animation(random_images(1), tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"expected one of \.gif, \.webp"):
        save_animation(random_images(2), tmp_path / "a.avi")
    assert not list(tmp_path.iterdir())
