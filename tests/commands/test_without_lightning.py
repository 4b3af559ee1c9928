"""An import loads little, and using and serving a model needs no package that only training has."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry import tiny_model

from glow_app.priors import CNFPrior
from glow_app.storage.pretrained import save_pretrained

REPOSITORY = Path(__file__).parents[2]
ABSENT = [
    line.replace("-", "_")
    for line in (REPOSITORY / "deploy/not-for-serving.txt").read_text().splitlines()
    if not line.startswith("#")
]

HEAVY = [package for package in ABSENT if package != "torchdiffeq"]
HEAVY += ["lightning", "lightning_modules", "matplotlib", "scipy", "sklearn"]

# Stages in one interpreter, each of which imports more.
SCRIPT = f"""
import sys
import glow_app

assert glow_app.__version__
loaded = {{"torch", "numpy", "PIL", *{HEAVY}}} & set(sys.modules)
assert not loaded, loaded

import glow_app.data, glow_app.models.image_model, glow_app.storage.checkpoint, glow_app.storage.pretrained
loaded = set({HEAVY}) & set(sys.modules)
assert not loaded, loaded

sys.modules.update(dict.fromkeys({HEAVY}))  # importing any of them is an error from here
for name in set(dir(glow_app)) - {{"train"}}:
    assert getattr(glow_app, name)

import torch
from glow_app.spec import build
with torch.device("meta"):
    small = dict(type="glow", image_shape=[3, 8, 8], num_levels=2, num_steps=1, hidden_channels=4)
    for prior in ("gaussian", "planar", "maf", "iaf", "cnf"):
        build(small | dict(prior=prior))
    for given in (dict(type="classes", num_classes=3), dict(type="picture", task="upscale")):
        build(small | dict(conditioning=given))
assert "torch._dynamo" not in sys.modules, "a model is rebuilt without the compiler of torch"

sys.modules["torchdiffeq"] = None
from glow_app.cli import main
model, folder = sys.argv[1:]
picture = f"{{folder}}/seed000001_t0.70.png"
for command in (
    ["sample", "--count", "2", "--seed", "1", "--output", folder],
    ["reconstruct", picture, "--output", folder],
    ["interpolate", picture, picture, "--output", f"{{folder}}/strip.png"],
    ["score", picture],
    ["encode", picture, "--output", folder],
    ["decode", f"{{folder}}/latents.safetensors", "--output", folder],
    ["sample", "--count", "4", "--seed", "1", "--output", f"{{folder}}/with"],
    ["sample", "--count", "4", "--seed", "9", "--output", f"{{folder}}/without"],
    ["edit", "learn", "smile", "--with", f"{{folder}}/with", "--without", f"{{folder}}/without"],
    ["edit", "apply", picture, "--direction", "smile", "--output", folder],
    ["export", "--output", f"{{folder}}/exported"],
):
    assert main([*command, "--checkpoint", model]) == 0, command
assert main(["info", f"{{folder}}/exported"]) == 0
from glow_app.storage.stored_model import load_model
from glow_app.server.app import create_app
create_app(load_model(f"{{folder}}/exported"))
"""


@pytest.mark.slow
def test_no_training_framework_is_needed(exported: Path, tmp_path: Path) -> None:
    model = shutil.copytree(exported, tmp_path / "model")  # the direction is written into it
    arguments = [sys.executable, "-c", SCRIPT, str(model), str(tmp_path / "out")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["sample --output out", "serve --port 0"])
def test_a_continuous_flow_names_the_package_that_is_missing(
    command: str, glow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(tiny_model(image_shape=(1, 4, 4), num_levels=1, prior=CNFPrior), Path("model"))
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    result = glow(*command.split(), "--checkpoint", "model")
    assert result.code == 1
    assert result.errors[0].startswith(
        "error: the package torchdiffeq is not installed; run: pip install torchdiffeq, "
    )
    assert not Path("out").exists()
