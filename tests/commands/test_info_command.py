"""`glow info` on all that the project writes, and on what it does not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.pretrained import model_hash
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]
Refused = Callable[..., str]


def facts(glow: Glow, *arguments: object) -> dict[str, str]:
    result = glow("info", *arguments)
    assert (result.code, result.errors) == (0, []), result
    return {line[:20].rstrip(): line[21:] for line in result.output.splitlines()}


@pytest.mark.parametrize("name", ["", "model", "best.ckpt", "last.ckpt"])
def test_a_model_in_plain_words(trained: Path, glow: Glow, name: str) -> None:
    said = facts(glow, trained / name)
    assert facts(glow, "--checkpoint", trained / name) == said
    assert (said["sha256"], said["parameters"]) == (model_hash(load_model(trained / name)), "7,000")
    assert said["images"] == "1x8x8, 4 bits"
    assert said["latents"] == "2x4x4, 8x2x2"
    assert (said["levels"], said["steps"], said["hidden channels"]) == ("2", "2", "16")
    assert said["prior"] == "GaussianPrior"
    checkpoint = read_checkpoint(trained / (name if name.endswith(".ckpt") else "best.ckpt"))
    assert said["trained for"] == f"{checkpoint['epoch'] + 1} epochs, {checkpoint['global_step']} steps"
    bits = checkpoint["glow_app"]["training"]
    assert said["bits/dim"] == f"{bits['val/bpd']:.3f} in validation, {bits['train/bpd']:.3f} in training"
    assert said["data"].startswith("source digits, seed 0, ")
    assert not any(sign in value for name, value in said.items() if name != "file" for sign in "{}[]_")
    assert not any("/" in name for name in said if not name.startswith("bits/dim"))


@pytest.mark.parametrize(
    ("name", "length"), [("fashion-mnist", "14 epochs, 11,802 steps"), ("faces", "16 epochs, 55,792 steps")]
)
def test_how_long_a_bundled_model_was_trained(glow: Glow, name: str, length: str) -> None:
    said = facts(glow, name)
    assert said["trained for"] == length  # as its README says
    assert not any("/" in name for name in said if not name.startswith("bits/dim"))


def test_latents_and_a_direction(trained: Path, pictures: list[Path], glow: Glow) -> None:
    glow("encode", *pictures, "--checkpoint", trained)
    said = facts(glow, "latents.safetensors")
    digest = model_hash(load_model(trained))
    assert said == {
        "file": "latents.safetensors",
        "kind": "latents of glow encode",
        "images": "3",
        "model": digest,
        "latents": "2x4x4, 8x2x2",
    }
    for name, path in zip(("with", "without"), pictures, strict=False):
        Path(name).mkdir()
        shutil.copy(path, name)
    glow("edit", "learn", "x", "--with", "with", "--without", "without", "--checkpoint", trained, "--directions", ".")
    said = facts(glow, "x.safetensors")
    assert (said["kind"], said["learnt from"], said["model"]) == ("a direction of glow edit", "2 images", digest)


def test_a_program(trained: Path, tmp_path: Path, glow: Glow, refused: Refused) -> None:
    description = {
        "version": "0.1.0",
        "program": {"kind": "torch-export", "file": "sampler.pt2", "sha256": "5ea"},
        "model": "c0de",
        "inputs": [{"name": "level0", "shape": ["batch", 2, 4, 4]}],
        "output": {"name": "images", "shape": ["batch", 1, 8, 8]},
        "class_names": ["shoe", "bag"],
        "num_bits": 4,
        "use": "session = ...",
        "training": {"epoch": 1, "step": 16, "val/bpd": 3.0, "classes": ["shoe", "bag"], "reference": {"images": 3}},
    }
    (tmp_path / "program").mkdir()
    (tmp_path / "program/sampler.json").write_text(json.dumps(description))
    (tmp_path / "program/sampler.pt2").write_bytes(b"a graph")
    said = facts(glow, "program")
    assert said["kind"] == "a program that draws (torch-export)"
    assert (said["sha256"], said["model"], said["inputs"]) == ("5ea", "c0de", "level0 batchx2x4x4")
    assert (said["classes"], said["trained for"]) == ("shoe, bag", "2 epochs, 16 steps")
    assert "reference" not in said
    assert "part of a program: glow info program" in refused("info", "program/sampler.pt2")
    for damaged in ({}, {**description, "training": [1]}):
        (tmp_path / "program/sampler.json").write_text(json.dumps(damaged))
        assert "sampler.json is damaged" in refused("info", "program")


def test_what_says_nothing_of_itself(trained: Path, tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "walk.gif").write_bytes(b"GIF89a")
    (tmp_path / "torn.safetensors").write_bytes(b"tensors")
    assert refused("info", "walk.gif").startswith("error: walk.gif is not a file that glow info reads: ")
    assert "torn.safetensors is damaged or no safetensors file" in refused("info", "torn.safetensors")
    for name in ("config.json", "model.safetensors"):
        message = refused("info", trained / "model" / name)
        assert message.endswith(f"; it is a part of an exported model: glow info {trained / 'model'}")
    assert "contains only tensors" in refused("sample", "--checkpoint", trained / "model/model.safetensors")
    assert "the path of the checkpoint is empty" in refused("sample", "--checkpoint", "")
    (tmp_path / "samples").mkdir()
    assert "samples holds neither config.json nor" in refused("info", "samples")
    for name in ("b.png", "a.png"):
        (tmp_path / "samples" / name).touch()
    assert refused("info", "samples").endswith(
        "samples holds pictures and no model; name one of them: glow info samples/a.png"
    )


def test_of_a_folder_of_runs_the_newest_is_taken(trained: Path, tmp_path: Path, glow: Glow) -> None:
    for age, name in enumerate(("runs/mine/2", "runs/mine/1", "runs/mine/3")):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        shutil.copy(trained / "last.ckpt", folder)
        os.utime(folder / "last.ckpt", (1e9 - age, 1e9 - age))
    for place in ("runs/mine", "runs"):
        result = glow("info", place)
        assert f"{place} contains 3 runs; the newest is taken: runs/mine/2" in "\n".join(result.errors)
        assert "runs/mine/2/last.ckpt" in result.output
    shutil.copytree(trained, tmp_path / "runs/single/1")  # as glow fit FOLDER --name single leaves it
    assert glow("info", "runs/single").errors == []
