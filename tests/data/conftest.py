from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOW_CACHE", str(tmp_path / "glow-cache"))
    monkeypatch.setenv("GLOW_DATA", str(tmp_path / "glow-data"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def make_images() -> Callable[..., Path]:
    """Write ``count`` different PNG files; image i is filled with the grey value i."""

    def make(folder: Path, count: int, size: tuple[int, int] = (6, 4), first: int = 0) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for value in range(first, first + count):
            pixels = np.full((size[1], size[0], 3), value, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{value:03d}.png")
        return folder

    return make
