"""`glow export`: the samplers. tests/storage/test_pretrained.py has the weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import full_disk
from registry import tiny_model

from glow_app.priors import PlanarPrior
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_a_program_of_torch_export(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("export", "--checkpoint", trained, "--output", "out", "--format", "torch-export")
    assert (result.code, result.errors) == (0, []), result
    assert f"out/sampler.pt2 (model {model_hash(load_model(trained))[:12]})" in result.output
    assert "100.0000% of the pixels are equal" in result.output
    found, expected = (
        json.loads(path.read_text())["training"]
        for path in (tmp_path / "out/sampler.json", trained / "model/config.json")
    )
    assert found["epoch"] == expected["epoch"]


@pytest.mark.parametrize("form", ["safetensors", "torch-export"])
def test_a_full_disk_leaves_nothing(form: str, trained: Path, tmp_path: Path, glow: Glow) -> None:
    with full_disk():
        result = glow("export", "--checkpoint", trained, "--output", "out", "--format", form)
    assert (result.code, result.errors) == (1, ["error: out: File too large"]), result
    assert not list(tmp_path.iterdir())


def test_what_is_refused(conditional: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    export = ["export", "--output", "out", "--format", "torch-export", "--checkpoint"]
    planar = save_pretrained(tiny_model(prior=PlanarPrior), tmp_path / "planar")
    assert "use glow sample" in refused(*export, planar, code=1)
    assert "leave --device cuda out" in refused(*export, conditional, "--device", "cuda", code=2)
    (tmp_path / "out").mkdir()
    assert "--overwrite" in refused(*export, conditional, code=1)
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    assert "holds other files" in refused(*export, conditional, "--overwrite", code=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]
