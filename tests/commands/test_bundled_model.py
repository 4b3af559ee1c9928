"""Commands with a bundled model, the default model, and a model from the hub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import pixels

from glow_app.files import sha256_of
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


@pytest.mark.slow
def test_the_default_model_is_faces(glow: Glow) -> None:
    Path("faces").mkdir()  # a folder without a model does not hide the bundled one
    result = glow("sample", "--count", 1, "--seed", 3, "--batch-size", 1)
    assert result.output.startswith(f"model: faces (sha256 {load_model('faces').hash[:12]})\n")
    picture = next(Path("outputs/sample").glob("seed*.png"))
    assert pixels(picture).shape == (256, 256, 3)
    assert "largest pixel error 0 of 255" in glow("reconstruct", picture).output
    assert glow("edit", "apply", picture, "--with", "smiling").code == 0


@pytest.mark.slow
def test_a_bundled_model_by_its_name(glow: Glow) -> None:
    model = ("--checkpoint", "fashion-mnist")
    drawn = glow("sample", *model, "--count", 2, "--seed", 0, "--batch-size", 2, "--given", "dress", "8")
    assert drawn.output.startswith(f"model: fashion-mnist (sha256 {load_model('fashion-mnist').hash[:12]})\n")
    assert json.loads(Path("outputs/sample/run.json").read_text())["given"] == ["Dress", "Bag"]
    clothes = sorted(Path("outputs/sample").glob("seed*.png"))
    assert "largest pixel error 0 of 255" in glow("reconstruct", *clothes, *model).output
    exported = glow("export", "--output", "mine", *model)
    assert exported.output.endswith("directions for glow edit: brightness, contrast, length, width\n")
    assert (
        glow("edit", "apply", clothes[0], "--direction", "width", "--output", "wide", "--checkpoint", "mine").code == 0
    )
    assert load_model("mine").hash == load_model("fashion-mnist").hash


def test_a_model_from_the_hub(
    conditional: Path, glow: Glow, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A name of its own, because a process keeps the revision of a name.
    snapshot = shutil.copytree(conditional, tmp_path / "c0ffee")
    monkeypatch.setattr("glow_app.storage.model_folders.fetch_model", {"hf://me/clothes": snapshot}.__getitem__)
    sampled = glow("sample", "--checkpoint", "hf://me/clothes", "--count", 1)
    assert sampled.output.startswith(
        f"model: hf://me/clothes (sha256 {load_model(conditional).hash[:12]}, revision c0ffee, "
        f"sha256 of model.safetensors {sha256_of(snapshot / 'model.safetensors')})\n"
    )
    assert "c0ffee" in glow("info", "hf://me/clothes").output
    assert "write hf://me/clothes" in refused("sample", "--checkpoint", "me/clothes")
