"""`glow info` of all files that the project writes, and `glow models`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.model_folders import DEFAULT_MODEL, bundled_models
from glow_app.storage.stored_model import load_model, model_hash

Glow = Callable[..., Any]
Refused = Callable[..., str]


def facts(glow: Glow, *arguments: object) -> dict[str, str]:
    result = glow("info", *arguments)
    assert (result.code, result.errors) == (0, []), result
    return {line[:25].rstrip(): line[26:] for line in result.output.splitlines()}


@pytest.mark.parametrize("name", ["", "model", "best.ckpt", "last.ckpt"])
def test_facts_of_a_model(trained: Path, glow: Glow, name: str) -> None:
    printed = facts(glow, trained / name)
    assert (printed["sha256"], printed["parameters"]) == (model_hash(load_model(trained / name)), "7,000")
    assert (printed["images"], printed["latents"]) == ("8x8 grey, 4 bits", "2x4x4, 8x2x2")
    assert (printed["levels"], printed["steps"], printed["hidden channels"]) == ("2", "2", "16")
    assert printed["prior"] == "GaussianPrior"
    checkpoint = read_checkpoint(trained / (name if name.endswith(".ckpt") else "best.ckpt"))
    assert printed["trained for"] == f"{checkpoint['epoch'] + 1} epochs, {checkpoint['global_step']} steps"
    bits = checkpoint["glow_app"]["training"]
    assert (printed["val/bpd"], printed["train/bpd"]) == (f"{bits['val/bpd']:.4g}", f"{bits['train/bpd']:.4g}")
    assert printed["data"].startswith("source digits, seed 0, ")
    assert not any(sign in value for name, value in printed.items() if name != "file" for sign in "{}[]_")


def test_facts_of_latents_and_directions(exported: Path, pictures: list[Path], glow: Glow) -> None:
    glow("encode", *pictures, "--checkpoint", exported)
    digest = model_hash(load_model(exported))
    origin = {"model": digest, "latents": "2x4x4, 8x2x2"}
    printed = facts(glow, "latents.safetensors")
    assert printed == {"file": "latents.safetensors", "kind": "latents of glow encode", "images": "3", **origin}
    for name, path in zip(("with", "without"), pictures, strict=False):
        Path(name).mkdir()
        shutil.copy(path, name)
    glow("edit", "learn", "x", "--with", "with", "--without", "without", "--checkpoint", exported, "--directions", ".")
    printed = facts(glow, "x.safetensors")
    assert printed.items() >= {"kind": "a direction of glow edit", "learnt from": "2 images", **origin}.items()


def test_facts_of_an_exported_program(glow: Glow, refused: Refused) -> None:
    description = {
        "version": "0.2.0",
        "program": {"kind": "torch-export", "file": "sampler.pt2", "sha256": "5ea"},
        "model": "c0de",
        "inputs": [{"name": "level0", "shape": ["batch", 2, 4, 4]}],
        "output": {"name": "images", "shape": ["batch", 1, 8, 8]},
        "class_names": ["shoe", "bag"],
        "num_bits": 4,
        "use": "session = ...",
        "training": {"version": "0.1.0", "epoch": 1, "step": 16, "val/bpd": 3.0},
    }
    Path("program").mkdir()
    Path("program/sampler.json").write_text(json.dumps(description))
    printed = facts(glow, "program")
    assert printed["program"] == "kind torch-export, file sampler.pt2, sha256 5ea"
    assert (printed["model"], printed["inputs"]) == ("c0de", "name level0, shape batch, 2, 4, 4")
    assert (printed["class names"], printed["trained for"]) == ("shoe, bag", "2 epochs, 16 steps")
    assert (printed["exported with"], printed["trained with"]) == ("glow-app 0.2.0", "glow-app 0.1.0")
    assert facts(glow, "program/sampler.pt2") == printed
    for damaged in ({}, {**description, "training": [1]}):
        Path("program/sampler.json").write_text(json.dumps(damaged))
        assert "sampler.json is damaged" in refused("info", "program")


def test_files_without_facts_are_refused(exported: Path, refused: Refused) -> None:
    Path("broken.png").write_bytes(b"\x89PNG and no more")
    Path("torn.safetensors").write_bytes(b"tensors")
    Image.new("L", (8, 8)).save("plain.png")
    shutil.copy(exported / "model.safetensors", "model.safetensors")
    Path("samples").mkdir()
    Image.new("L", (8, 8)).save("photo.jpg")
    for name, words in {
        "broken.png": "cannot be read as a PNG",
        "plain.png": "has no metadata",
        "torn.safetensors": "is damaged or not a safetensors file",
        "model.safetensors": "holds neither latents nor a direction",
        "none.png": "there is no model none.png",
        "photo.jpg": "expected a model",
        "samples": "samples is neither a model nor a run",
    }.items():
        assert words in refused("info", name)


def test_several_places(exported: Path, pictures: list[Path], glow: Glow) -> None:
    glow("encode", *pictures, "--checkpoint", exported)
    both, second = glow("info", exported, "latents.safetensors").output, glow("info", "latents.safetensors").output
    assert both.startswith(f"{exported}\n")
    assert both.endswith(f"\n\nlatents.safetensors\n{second}")
    some = glow("info", "nothing", exported, "photo.jpg", "latents.safetensors")
    assert (some.code, some.output, len(some.errors)) == (1, both, 1)
    assert all(f"there is no model {name}" in some.errors[0] for name in ("nothing", "photo.jpg"))


def test_models_lists_the_bundled_models(glow: Glow) -> None:
    lines = glow("models").output.splitlines()
    assert [line.split()[0] for line in lines[1 : lines.index("")]] == list(bundled_models())
    assert [line.split()[0] for line in lines if "default" in line] == [DEFAULT_MODEL]
    assert max(map(len, lines)) <= 80
