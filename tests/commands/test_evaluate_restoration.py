"""`glow evaluate` of restoration models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from registry import random_images

from glow_app.evaluation import evaluation_data, mean_bits
from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.restoration import measure_restorations
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def test_all_figures_of_restorations(models: Path, tmp_path: Path, glow: Glow) -> None:
    root = Images(random_images(12, (3, 8, 8), 4)).save(tmp_path / "pictures")
    options = ["--source", "folder", "--root", root, "--count", 3, "--seed", 5, "--limit", 9]
    result = glow("evaluate", "--checkpoint", models / "fill", *options)
    assert (result.code, result.errors) == (0, []), result
    record = json.loads((tmp_path / "outputs/evaluate/evaluation.json").read_text())
    model = load_model(models / "fill")
    assert isinstance(model, ImageModel)
    assert (record["model"], record["task"]["type"]) == (model.hash, "fill")
    assert (record["data"]["images"], record["data"]["training_images"]) == (9, None)
    held_out = evaluation_data(model, {}, source="folder", root=str(root), limit=9).held_out
    bits = mean_bits(model, held_out, 1, 5)
    assert record["bits_per_dim"]["one_draw"]["mean"] == pytest.approx(bits.mean)
    measured = measure_restorations(model, held_out, 3, None, 5)
    assert record["samples"] == {"temperature": 0.7, "count": 3, "all": 9 * 32}
    assert record["within"] == pytest.approx(measured.within)
    assert (record["agree"], record["exploded"]) == (1.0, 0)
    for kind, quality in measured.qualities.items():
        assert record["restorations"][kind]["psnr"]["mean"] == pytest.approx(quality.psnr.mean)
        assert f"{quality.psnr.mean:.2f} ± {quality.psnr.standard_error:.2f} dB" in result.output
    assert record["restorations"]["mean"]["name"] == "mean of 3 draws"
    for text in (f"{bits.mean:.4f} ± {bits.standard_error:.4f}", "T = 0.7", "0 of 288 draws", "100.00% of draws"):
        assert text in result.output
    assert "PSNR, missing pixels" in result.output
    assert result.output.endswith("\n".join(record["verdict"]) + "\n")
    with Image.open(tmp_path / "outputs/evaluate/comparison.png") as picture:
        assert picture.height > 6 * 64
        assert picture.info["model"] == record["model"]


def test_photographs_are_measured_in_crops(models: Path, tmp_path: Path, glow: Glow) -> None:
    root = Images(random_images(2, (3, 24, 40))).save(tmp_path / "photos")
    options = ["--source", "photos", "--root", root, "--limit", 10, "--count", 1, "--temperature", 0]
    result = glow("evaluate", "--checkpoint", models / "upscale", *options)
    assert (result.code, result.errors) == (0, []), result
    assert "data: photos, 10 images of" in result.output
    record = json.loads(Path("outputs/evaluate/evaluation.json").read_text())
    kinds = record["restorations"]
    assert kinds["draw"]["psnr"] == kinds["estimate"]["psnr"] == kinds["mean"]["psnr"]
