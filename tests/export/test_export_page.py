"""The programs of docs/export.md, run as they stand, draw what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from docs_pages import DOCS
from registry import tiny_model

from glow_app.export import save_sampler
from glow_app.generation import sample_batches
from glow_app.models.generation_settings import GenerationSettings
from glow_app.models.image_model import ImageModel


def run_example(section: str, model: ImageModel, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the images of a section's program, run in the folder of an export."""
    text = (DOCS / "export.md").read_text(encoding="utf-8").partition(f"\n## {section}\n")[2]
    (program,) = re.findall(r"^```python\n(.*?)^```", text.partition("\n## ")[0], re.DOTALL | re.MULTILINE)
    save_sampler(model, folder, kind)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(program, names)
    return names["images"]


@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_seed_is_the_image_of_glow_sample(
    num_classes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(image_shape=(1, 8, 4), num_steps=1, num_classes=num_classes)
    guidance = 1.0 if num_classes is None else 1.25
    model.generation = GenerationSettings((0.7, 0.9), guidance)
    found = run_example("torch.export", model, "torch-export", tmp_path / "exported", monkeypatch)
    expected = torch.stack([image for _, image in sample_batches(model, 16, [0.7, 0.9], 7, guidance=guidance)])
    assert torch.equal(found, expected)


def test_onnxruntime_draws_as_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(image_shape=(1, 8, 4), num_steps=1, num_classes=3)
    images = run_example("ONNX", model, "onnx", tmp_path / "exported", monkeypatch)
    assert (images.shape, str(images.dtype)) == ((16, 1, 8, 4), "uint8")
