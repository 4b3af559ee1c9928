"""`glow data`, and trainings on what it packs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Glow = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(80):
        path = tmp_path / f"mine/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (10, 12)).astype(np.uint8)).save(path)
    return tmp_path / "mine"


def test_pack_says_what_it_did_and_how_to_go_on(glow: Glow, folder: Path) -> None:
    (folder / "a/broken.jpg").write_bytes(b"x")
    result = glow("data", "pack", folder, "--output", "packed", "--size", "8", "--grey")
    assert result.code == 0, result
    lines = result.output.splitlines()
    assert lines[0].startswith("left out a/broken.jpg: UnidentifiedImageError")
    splits = [line.split() for line in lines[1:4]]
    assert [split[0] for split in splits] == ["train", "validation", "test"]
    assert sum(int(split[1]) for split in splits) == 80
    assert lines[4] == "2 classes"
    assert lines[-1] == "train on them: --data.source shards --data.root packed"
    assert glow("data", "verify", "packed").output.endswith("all are what the manifest says\n")


def test_training_on_shards_equals_training_on_their_folder(glow: Glow, folder: Path, tiny_run: list[str]) -> None:
    glow("data", "pack", folder, "--output", "packed", "--size", "8", "--grey")
    options = [*tiny_run, "--data.batch_size=16", "--data.num_workers=1"]
    for source, root in (("shards", "packed"), ("folder", folder)):
        result = glow("fit", "--run_dir", source, f"--data.source={source}", f"--data.root={root}", *options)
        assert result.code == 0, result
    one, other = (glow("test", "--checkpoint", name).output.splitlines() for name in ("shards", "folder"))
    assert one[0] == "data.root as in shards/best.ckpt: 'packed'"
    assert "(shards, test split, 8 images of 8x8, 1 channel" in one[1]
    # The order of training differs, the images and the references do not.
    assert one[2:] == other[2:]


def test_a_shard_damaged_while_a_training_reads_it_ends_in_one_line(
    refused: Callable[..., str], glow: Glow, folder: Path, tiny_run: list[str]
) -> None:
    glow("data", "pack", folder, "--output", "packed")
    shard = Path("packed/train-000000.tar")
    shard.write_bytes(bytes(shard.stat().st_size))
    options = [*tiny_run, "--data.batch_size=16", "--data.source=shards", "--data.root=packed"]
    for workers in (0, 2):
        error = refused("fit", "--run_dir", f"run{workers}", *options, f"--data.num_workers={workers}", code=1)
        assert "train-000000.tar is damaged: image " in error
        assert "nor can the next 15; put a good copy in its place" in error
        assert "Traceback" not in error
    error = glow("data", "verify", "packed").errors[0]
    assert error == "error: 1 files in packed are damaged; put good copies in their place"


def test_what_is_refused(refused: Callable[..., str], glow: Glow, folder: Path) -> None:
    assert "required: pack|index|verify" in refused("data", code=2)
    assert "--output" in refused("data", "pack", folder, code=2)
    assert "0x8 is no size" in refused("data", "pack", folder, "--output", "x", "--size", "0x8", code=2)
    assert "--grey needs --size" in refused("data", "pack", folder, "--output", "x", "--grey")
    assert "does not exist" in refused("data", "pack", "nowhere", "--output", "x")
    assert "validation_fraction is 2.0" in refused(
        "data", "pack", folder, "--output", "x", "--validation-fraction", "2"
    )
    assert "there is no" in refused("data", "verify", folder)
    glow("data", "pack", folder, "--output", "packed")
    assert "exists already" in refused("data", "pack", folder, "--output", "packed")
    shutil.rmtree("packed")
    assert "no tar files" in refused("data", "index", folder)
