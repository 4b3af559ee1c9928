"""Every bad input gives a one-line message and exit code 1 or 2, and leaves no files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Refused = Callable[..., str]


@pytest.mark.parametrize("command", ["sample", "reconstruct", "export", "interpolate", "fit"])
def test_unwritable_outputs_are_refused(
    exported: Path, tmp_path: Path, pictures: list[Path], refused: Refused, tiny_run: list[str], command: str
) -> None:
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    place = tmp_path / "file" / "out"
    arguments = {
        "sample": ["sample", "--checkpoint", exported, "--output", place],
        "reconstruct": ["reconstruct", *pictures, "--checkpoint", exported, "--output", place],
        "export": ["export", "--checkpoint", exported, "--output", place],
        "interpolate": ["interpolate", *pictures[:2], "--checkpoint", exported, "--output", place / "strip.png"],
        "fit": ["fit", "--run_dir", place, *tiny_run],
    }[command]
    assert str(tmp_path / "file") in refused(*arguments, code=1)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_bad_pictures_are_refused(exported: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    Image.new("F", (8, 8)).save(tmp_path / "float.tif")
    reconstruct = ["reconstruct", "--checkpoint", exported]
    assert "no image files" in refused(*reconstruct, tmp_path / "empty")
    for name in ("broken.png", "float.tif", "none.png"):
        assert name in refused(*reconstruct, tmp_path / name)
    assert not Path("outputs/reconstruct").exists()
    assert "broken.png is a file; expected a folder of images" in refused("fit", tmp_path / "broken.png")


BAD_RUNS = {
    "--trainer.gradient_clip_algorithm=x": "glow fit: `gradient_clip_algorithm` x is invalid",
    "--num_bits=9": "num_bits is 9",
    "--flow.conditioning=classes": "num_classes",
    "--data.batch_size=1000": "batch_size is 1000, but with 256 training examples it must be from 1 to 256",
    "--data.limit=0": "limit is 0",
    "--data.source=folder --data.root=broken": "no usable image",
    "--minutes=3": "--minutes is an option of glow fit FOLDER; use --trainer.max_time DAYS",
    "--config broken.yaml": "parsing",
    "--config typo.yaml": "num_bit",
}


def test_bad_training_options_are_refused(refused: Refused, glow: Callable[..., Any], tiny_run: list[str]) -> None:
    Path("broken").mkdir()
    Path("broken/a.png").write_bytes(b"\x89PNG and no more")
    Path("broken.yaml").write_text("flow: [\n")
    Path("typo.yaml").write_text("num_bit: 3\n")
    fit = ["fit", "--run_dir", "a/b/run", *tiny_run, "--trainer.max_steps=1"]
    for options, words in BAD_RUNS.items():
        assert words in refused(*fit, *options.split()), options
        assert not [path for path in Path("a").rglob("*") if path.is_file()], options
    assert glow(*fit).code == 0
