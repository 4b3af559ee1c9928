"""`glow info` and `glow models`."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.model_folders import DEFAULT_MODEL, bundled_models
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def facts(glow: Glow, *arguments: object) -> dict[str, str]:
    result = glow("info", *arguments)
    assert (result.code, result.errors) == (0, []), result
    return {line[:25].rstrip(): line[26:] for line in result.output.splitlines()}


@pytest.mark.parametrize("name", ["", "model", "best.ckpt", "last.ckpt"])
def test_facts_of_a_model(trained: Path, glow: Glow, name: str) -> None:
    printed = facts(glow, trained / name)
    assert (printed["sha256"], printed["parameters"]) == (load_model(trained / name).hash, "7,000")
    assert (printed["images"], printed["latents"]) == ("8x8 grey, 4 bits", "2x4x4, 8x2x2")
    assert (printed["levels"], printed["steps"], printed["hidden channels"]) == ("2", "2", "16")
    assert printed["prior"] == "gaussian (rank 0)"
    checkpoint = read_checkpoint(trained / (name if name.endswith(".ckpt") else "best.ckpt"))
    assert printed["trained for"] == f"{checkpoint['epoch'] + 1} epochs, {checkpoint['global_step']} steps"
    bits = checkpoint["glow_app"]["training"]
    assert (printed["val/bpd"], printed["train/bpd"]) == (f"{bits['val/bpd']:.4g}", f"{bits['train/bpd']:.4g}")
    assert printed["data"].startswith("source digits, seed 0, ")
    assert not any(sign in value for name, value in printed.items() if name != "file" for sign in "{}[]_")


def test_attributes_are_shown_as_they_are_given(attributed: Path, glow: Glow) -> None:
    printed = facts(glow, attributed)
    assert printed["conditioning"] == "attributes"
    assert re.fullmatch(r"smiling, hat, age 0\.\d\d to \d\.\d\d, hue 0\.\d\d to \d\.\d\d", printed["attributes"])


def test_files_without_facts_are_refused(exported: Path, refused: Callable[..., str]) -> None:
    Path("broken.png").write_bytes(b"\x89PNG and no more")
    Image.new("L", (8, 8)).save("plain.png")
    shutil.copy(exported / "model.safetensors", "model.safetensors")
    Path("samples").mkdir()
    Image.new("L", (8, 8)).save("photo.jpg")
    for name, words in {
        "broken.png": "cannot be read as a PNG",
        "plain.png": "has no metadata",
        "model.safetensors": "expected a model",
        "none.png": "there is no model none.png",
        "photo.jpg": "expected a model",
        "samples": "samples is neither a model nor a run",
    }.items():
        assert words in refused("info", name)


def test_several_places(exported: Path, trained: Path, glow: Glow) -> None:
    both, second = glow("info", exported, trained).output, glow("info", "--checkpoint", trained).output
    assert both.startswith(f"{exported}\n")
    assert both.endswith(f"\n\n{trained}\n{second}")
    some = glow("info", "nothing", exported, "photo.jpg", trained)
    assert (some.code, some.output, len(some.errors)) == (1, both, 1)
    assert all(f"there is no model {name}" in some.errors[0] for name in ("nothing", "photo.jpg"))


def test_models_lists_the_bundled_models(glow: Glow) -> None:
    lines = glow("models").output.splitlines()
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list(bundled_models())
    assert [line.split()[0] for line in lines if "default" in line] == [DEFAULT_MODEL]
    assert max(map(len, lines)) <= 80
