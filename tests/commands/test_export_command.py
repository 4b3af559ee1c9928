"""`glow export` of samplers; what it writes and refuses is tested in tests/export and tests/storage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_export_of_a_torch_export_program(trained: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Mock(return_value=0.0)  # programs are tested in tests/export
    monkeypatch.setattr("glow_app.export.save_sampler", saved)
    result = glow("export", "--checkpoint", trained, "--output", "out", "--format", "torch-export", "--overwrite")
    assert (result.code, result.errors) == (0, []), result
    (model, folder, facts), options = saved.call_args
    assert (model.hash, str(folder), options) == (load_model(trained).hash, "out", {"overwrite": True})
    assert facts["epoch"] == json.loads((trained / "model/config.json").read_text())["training"]["epoch"]
    assert f"out/sampler.pt2 (model {model.hash[:12]})" in result.output
    assert "100.0000% of the pixels are equal" in result.output


def test_weights_are_stored_in_half_the_space(trained: Path, glow: Glow) -> None:
    for folder, options in (("whole", []), ("half", ["--half"]), ("again", ["--checkpoint", "half", "--half"])):
        assert glow("export", "--checkpoint", trained, "--output", folder, *options).code == 0
    whole, half, again = (load_model(folder).state_dict() for folder in ("whole", "half", "again"))
    for name, weights in whole.items():
        assert half[name].dtype == weights.dtype
        torch.testing.assert_close(half[name], weights, rtol=1e-3, atol=1e-6)
        assert torch.equal(half[name], again[name])
    sizes = [Path(folder, "model.safetensors").stat().st_size for folder in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]
