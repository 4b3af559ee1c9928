"""`--output` as the file of a picture, the same for all commands that write one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import pixels

Glow = Callable[..., Any]
# The model, what is given, and the picture of its folder of results that a file is.
COMMANDS = {
    "sample --seed 3 --count 4": ("exported", 0, "grid.png"),
    "sample --seed 3 --count 1": ("exported", 0, "seed000003_t0.70.png"),
    "interpolate --frames 3": ("exported", 2, "strip.png"),
    "reconstruct": ("exported", 2, "comparison.png"),
    "edit apply --with hat": ("attributed", 1, "000_a_hat.png"),
    "restore": ("models/clean", 1, "a_restored.png"),
    "restore --count 2": ("models/clean", 1, "a_comparison.png"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_the_picture_to_look_at_first(
    command: str, pictures: list[Path], glow: Glow, request: pytest.FixtureRequest
) -> None:
    place, count, name = COMMANDS[command]
    fixture, _, folder = place.partition("/")
    options = [*command.split(), *pictures[:count], "--checkpoint", request.getfixturevalue(fixture) / folder]
    assert glow(*options, "--output", "folder").code == 0
    result = glow(*options, "--output", "new/file.png")
    assert (result.code, os.listdir("new")) == (0, ["file.png"]), result
    assert "new/file.png" in result.output
    assert np.array_equal(pixels(Path("new/file.png")), pixels(Path("folder") / name))
    assert glow(*options, "--output", "new/file.png").code == 1, "it exists"
    assert glow(*options, "--output", "new/file.png", "--overwrite").code == 0
    for suffix, kind in ((".jpg", "JPEG"), (".tiff", "TIFF")):
        assert glow(*options, "--output", f"new/file{suffix}").code == 0
        with Image.open(f"new/file{suffix}") as picture:
            assert picture.format == kind


def test_a_file_is_for_one_picture(
    exported: Path, attributed: Path, models: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    assert glow("encode", *pictures, "--checkpoint", exported).code == 0
    for command in (
        ["edit", "apply", *pictures, "--with", "hat", "--checkpoint", attributed],
        ["restore", *pictures, "--checkpoint", models / "clean"],
        ["decode", "outputs/encode/latents.safetensors", "--checkpoint", exported],
    ):
        assert "one picture, and there are 3; choose a folder" in refused(*command, "--output", "a.png", code=2)
    assert not Path("a.png").exists()
    assert glow("encode", pictures[0], "--checkpoint", exported, "--output", "one").code == 0
    assert glow("decode", "one/latents.safetensors", "--checkpoint", exported, "--output", "a.png").code == 0
    assert np.array_equal(pixels(Path("a.png")), pixels(pictures[0]))
