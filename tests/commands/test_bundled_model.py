"""The commands without `--checkpoint`, and with the name of a model that comes with the package."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from run_files import pixels

from glow_app.storage.hub_models import HubModel
from glow_app.storage.pretrained import load_pretrained, model_hash
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]
CLOTHES = ("--checkpoint", "fashion-mnist")


@pytest.fixture
def clothes(glow: Glow) -> list[Path]:
    """A dress and a bag that the bundled model of clothes drew."""
    drawn = ("--seed", 0, "--batch-size", 2, "--label", "dress", "8", "--output", "drawn")
    result = glow("sample", *CLOTHES, "--count", 2, *drawn)
    assert result.code == 0, result
    assert result.output.startswith(f"model: fashion-mnist (sha256 {model_hash(load_model('fashion-mnist'))[:12]})\n")
    assert json.loads(Path("drawn/run.json").read_text())["label"] == [3, 8]
    return sorted(Path("drawn").glob("seed*.png"))


def test_faces_where_no_model_is_named(glow: Glow) -> None:
    Path("faces").mkdir()  # of pictures, it may be
    result = glow("sample", "--count", 1, "--seed", 3)
    assert result.output.startswith(f"model: faces (sha256 {model_hash(load_model('faces'))[:12]})\n")
    picture = next(Path("samples").glob("seed*.png"))
    assert pixels(picture).shape == (64, 64, 3)
    assert "largest pixel error 0 of 255" in glow("reconstruct", picture).output
    assert glow("edit", "apply", picture, "--direction", "smiling").code == 0
    assert glow("info").output.startswith(glow("info", "faces").output)
    exported = glow("export", "--output", "mine")
    assert (
        exported.output.count("\nwith the directions for glow edit: background_hue, background_lightness, beard, ") == 1
    )


def test_pictures_go_through_every_command(clothes: list[Path], glow: Glow) -> None:
    assert "largest pixel error 0 of 255" in glow("reconstruct", *clothes, *CLOTHES).output
    assert glow("interpolate", *clothes, "--frames", 3, *CLOTHES).code == 0
    encoded = glow("encode", *clothes, *CLOTHES)
    assert encoded.output.startswith("model: fashion-mnist (sha256 ")
    assert f"{clothes[0]}: class " in encoded.output
    assert glow("decode", "latents.safetensors", *CLOTHES).code == 0
    for number, path in enumerate(clothes):
        assert np.array_equal(pixels(Path(f"decoded/{number:06d}_{path.stem}.png")), pixels(path))
    for name, path in zip(("with", "without"), clothes, strict=True):
        Path(name).mkdir()
        (Path(name) / path.name).write_bytes(path.read_bytes())
    learnt = glow("edit", "learn", "dressy", "--with", "with", "--without", "without", *CLOTHES)
    assert "dressy, from 2 images: directions/dressy.safetensors" in learnt.output
    assert glow("edit", "apply", clothes[0], "--direction", "dressy", "--strength", 0, *CLOTHES).code == 0
    assert np.array_equal(pixels(Path(f"edits/000_{clothes[0].stem}_dressy.png")), pixels(clothes[0]))


def test_score(clothes: list[Path], glow: Glow) -> None:
    result = glow("score", clothes[1], "--reference", "drawn", *CLOTHES)
    assert result.code == 0, result
    assert "labels: class unknown: averaged over 10 classes\n" in result.output


def test_info_and_export(glow: Glow, refused: Callable[..., str]) -> None:
    for arguments in (["fashion-mnist"], ["--checkpoint", "fashion-mnist"]):
        assert "\nclasses              T-shirt/top, Trouser, " in glow("info", *arguments).output
    assert "give one of them" in refused("info", "fashion-mnist", "--checkpoint", "fashion-mnist")
    exported = glow("export", "--output", "mine", *CLOTHES)
    assert exported.output.endswith("\nwith the directions for glow edit: brightness, contrast, length, width\n")
    apply = ["edit", "apply", "one.png", "--label", 2, "--direction", "width", "--checkpoint", "mine"]
    Image.new("L", (28, 28)).save("one.png")
    assert glow(*apply).code == 0
    assert model_hash(load_pretrained("mine")) == model_hash(load_pretrained("fashion-mnist"))


def test_training_commands_want_a_checkpoint_of_their_own(refused: Callable[..., str]) -> None:
    assert "needs --checkpoint" in refused("test", code=2)
    assert "is an exported model" in refused("test", "--checkpoint", "fashion-mnist")


def test_a_model_of_the_hub(
    conditional: Path, glow: Glow, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = HubModel(conditional, {"revision": "c0ffee", "sha256 of model.safetensors": "5ea"})
    monkeypatch.setattr("glow_app.storage.places.fetch_model", {"hf://me/shoes": found}.__getitem__)
    sampled = glow("sample", "--checkpoint", "hf://me/shoes", "--count", 1)
    assert sampled.output.startswith(
        f"model: hf://me/shoes (sha256 {model_hash(load_model(conditional))[:12]}, revision c0ffee, "
        "sha256 of model.safetensors 5ea)\n"
    )
    assert "\nrevision             c0ffee\n" in glow("info", "hf://me/shoes").output
    assert "write hf://me/shoes" in refused("sample", "--checkpoint", "me/shoes")
