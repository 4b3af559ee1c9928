from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.pictures.animations import save_animation

FRAMES = torch.stack([torch.full((3, 8, 8), 40 * number, dtype=torch.uint8) for number in range(4)])


def test_frames_and_their_time(tmp_path: Path) -> None:
    save_animation(FRAMES, tmp_path / "a.gif", seconds=1.5, min_side=1)
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.size) == (4, (8, 8))  # type: ignore[attr-defined]
        for number in range(4):
            picture.seek(number)
            assert picture.convert("RGB").getpixel((3, 3)) == (40 * number,) * 3


def times(path: Path) -> list[int]:
    with Image.open(path) as picture:
        found = []
        for number in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(number)
            picture.load()
            found.append(picture.info["duration"])
        return found


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_the_seconds_are_all_that_it_plays(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    assert save_animation(FRAMES, path, seconds=1.5) == 1.5
    assert sum(times(path)) == 1500
    assert save_animation(FRAMES, path, seconds=2.0, there_and_back=True) == 2.0
    assert len(times(path)) == 6
    assert sum(times(path)) == 2000
    assert max(times(path)) - min(times(path)) <= 10
    assert save_animation(FRAMES, path, seconds=0.05) == 0.08
    assert times(path) == [20] * 4


def test_webp_keeps_every_pixel(tmp_path: Path) -> None:
    noise = torch.randint(0, 256, (3, 3, 8, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_animation(noise, tmp_path / "a.webp", min_side=1)
    with Image.open(tmp_path / "a.webp") as picture:
        for number in range(3):
            picture.seek(number)
            found = torch.tensor(list(picture.convert("RGB").tobytes()), dtype=torch.uint8).reshape(8, 10, 3)
            assert torch.equal(found.permute(2, 0, 1), noise[number])


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        save_animation(FRAMES[:1], tmp_path / "a.gif")
    with pytest.raises(ValueError, match=r"expected one of \.gif, \.webp, \.mp4"):
        save_animation(FRAMES, tmp_path / "a.avi")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match="extra video"):
        save_animation(FRAMES, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
