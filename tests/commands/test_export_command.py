"""`glow export` of samplers; what it writes and refuses is tested in tests/export and tests/storage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from glow_app.storage.stored_model import load_model, model_hash

Glow = Callable[..., Any]


def test_export_of_a_torch_export_program(trained: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Mock(return_value=0.0)  # programs are tested in tests/export
    monkeypatch.setattr("glow_app.export.save_sampler", saved)
    result = glow("export", "--checkpoint", trained, "--output", "out", "--format", "torch-export", "--overwrite")
    assert (result.code, result.errors) == (0, []), result
    (model, folder, facts), options = saved.call_args
    assert (model_hash(model), str(folder), options) == (model_hash(load_model(trained)), "out", {"overwrite": True})
    assert facts["epoch"] == json.loads((trained / "model/config.json").read_text())["training"]["epoch"]
    assert f"out/sampler.pt2 (model {model_hash(model)[:12]})" in result.output
    assert "100.0000% of the pixels are equal" in result.output
