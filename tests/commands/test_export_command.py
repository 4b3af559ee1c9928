"""`glow export`: the samplers, and the page that tells how they are used."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import full_disk
from registry import tiny_model

from glow_app.export import SAMPLER_FORMATS
from glow_app.priors import PlanarPrior
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]
PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def run_example(number: int, folder: Path, *absent: str) -> list[Any]:
    """Run an example of the page inside a folder, where some packages are not installed; return its images."""
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[number]
    block = f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    code = f"{block}{example}\nprint(json.dumps([str(images.dtype), images.tolist()]))\n"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_of_torch_export(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("export", "--checkpoint", trained, "--output", "out", "--format", "torch-export")
    assert (result.code, result.errors) == (0, []), result
    model = load_model(trained)
    assert result.output == (
        f"out/sampler.pt2 (model {model_hash(model)[:12]})\n"
        "checked against the model: 100.0000% of the pixels equal, largest difference 0 levels, 16 images\n"
    )
    description = json.loads((tmp_path / "out" / "sampler.json").read_text())
    assert (
        description["training"]["epoch"] == json.loads((trained / "model/config.json").read_text())["training"]["epoch"]
    )
    dtype, images = run_example(0, tmp_path / "out", "glow_app", "lightning_modules")
    assert dtype == "torch.uint8"
    # The images of glow sample --seed 7, at its temperature.
    assert torch.equal(torch.tensor(images, dtype=torch.uint8), model.sample(16, 0.7, 7))


@pytest.mark.parametrize("form", ["safetensors", "torch-export"])
def test_a_full_disk_leaves_nothing(form: str, trained: Path, tmp_path: Path, glow: Glow) -> None:
    with full_disk():
        result = glow("export", "--checkpoint", trained, "--output", "out", "--format", form)
    assert (result.code, result.errors) == (1, ["error: out: File too large"]), result
    assert not list(tmp_path.iterdir())


def test_a_program_of_onnx(conditional: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("export", "--checkpoint", conditional, "--output", "out", "--format", "onnx")
    assert (result.code, result.errors) == (0, []), result
    assert re.search(
        r"^checked against the model: (100\.0000|99\.\d+)% of the pixels equal", result.output, re.MULTILINE
    )
    description = json.loads((tmp_path / "out" / "sampler.json").read_text())
    assert (description["num_classes"], description["class_names"][2]) == (10, "Kind C")
    dtype, images = run_example(1, tmp_path / "out", "glow_app", "lightning_modules", "torch")
    assert dtype == "uint8"
    found = torch.tensor(images, dtype=torch.uint8)
    assert found.shape == (16, 1, 8, 8)
    assert len(found.unique(dim=0)) == 16


@pytest.mark.parametrize("kind", SAMPLER_FORMATS)
def test_what_is_refused(
    kind: str, conditional: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    export = ["export", "--output", "out", "--format", kind, "--checkpoint"]
    planar = save_pretrained(tiny_model(prior=PlanarPrior), tmp_path / "planar")
    assert "use glow sample" in refused(*export, planar, code=1)
    assert "exports on the CPU; leave --device cuda out" in refused(*export, conditional, "--device", "cuda", code=2)
    assert "no checkpoint nowhere" in refused(*export, "nowhere", code=1)
    (tmp_path / "out").mkdir()
    assert "--overwrite" in refused(*export, conditional, code=1)
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "holds other files" in refused(*export, conditional, "--overwrite", code=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
    assert "invalid choice: 'tflite'" in refused(*export, conditional, "--format", "tflite", code=2)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra(
    package: str, conditional: Path, tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = refused("export", "--checkpoint", conditional, "--output", "out", "--format", "onnx", code=1)
    assert message == f"error: --format onnx needs the extra onnx ({package} is missing): pip install 'glow-app[onnx]'"
    assert list(tmp_path.iterdir()) == []
