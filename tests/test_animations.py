from pathlib import Path

import pytest
import torch
from PIL import Image

from glow_app.animations import save_animation

FRAMES = torch.stack([torch.full((3, 8, 8), 40 * number, dtype=torch.uint8) for number in range(4)])


def test_frames_and_their_time(tmp_path: Path) -> None:
    save_animation(FRAMES, tmp_path / "a.gif", seconds=1.5, min_side=1)
    with Image.open(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.size, picture.info["duration"]) == (4, (8, 8), 500)  # type: ignore[attr-defined]
        for number in range(4):
            picture.seek(number)
            assert picture.convert("RGB").getpixel((3, 3)) == (40 * number,) * 3


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
