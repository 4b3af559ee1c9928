"""`glow score`."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data.sources import load_split
from glow_app.generation import ODDITIES
from glow_app.pictures.image_batch import Images
from glow_app.seeding import image_generators
from glow_app.storage.model_folders import read_config
from glow_app.storage.stored_model import load_model, model_hash

Glow = Callable[..., Any]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def ordinary(trained: Path, tmp_path: Path) -> Path:
    return load_model(trained).sample(24, 1.0, 50).save(tmp_path / "ordinary")


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    images = torch.tensor([0, 255] * 6, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    return Images(images).save(tmp_path / "odd")


def test_one_row_per_picture(trained: Path, tmp_path: Path, pictures: list[Path], glow: Glow) -> None:
    result = glow("score", *pictures, "--checkpoint", trained, "--draws", 3, "--seed", 5, "--batch-size", 2)
    assert result.code == 0, result
    assert result.output.startswith("3 images, ")
    scored = rows(tmp_path / "scores/scores.csv")
    assert [row["file"] for row in scored] == [str(path) for path in pictures]
    assert [(row["seed"], row["draws"]) for row in scored] == [("5", "3"), ("6", "3"), ("7", "3")]
    image = torch.from_numpy(np.asarray(Image.open(pictures[2])).copy())[None, None]
    expected = float(load_model(trained).bits_per_dim(image, None, 3, image_generators([7])))
    assert float(scored[2]["bits_per_dim"]) == pytest.approx(expected, rel=1e-5)
    record = json.loads((tmp_path / "scores/scores.json").read_text())
    assert record["usual"] == "180 ordinary images stored with the model"
    for row, other in zip(record["images"], scored, strict=True):
        assert {name: str(value) for name, value in row.items()} == other
        assert {*ODDITIES, "bits_level_0", "norm_level_1", "reason"} <= set(row)
        assert (row["verdict"] == "unusual") == (row["oddness"] > 95)
    with Image.open(tmp_path / "scores/oddest.png") as sheet:
        assert sheet.info["model"] == model_hash(load_model(trained))
        # In order of oddness, each below its caption.
        shown = [np.asarray(sheet)[-160:, 2 + 162 * column : 162 + 162 * column][::20, ::20] for column in range(3)]
    oddest = sorted(record["images"], key=lambda row: (-row["oddness"], -row["bits_per_dim"]))
    for part, row in zip(shown, oddest, strict=True):
        assert np.array_equal(part, np.asarray(Image.open(row["file"])))


def test_training_images_have_no_verdict(trained: Path, pictures: list[Path], tmp_path: Path, glow: Glow) -> None:
    shutil.copytree(trained / "model", tmp_path / "elsewhere")
    copies = []
    for number, image in enumerate(load_split("digits", "train", (1, 8, 8), limit=256).images[:5]):
        copies.append(tmp_path / f"copy {number}.png")
        Image.fromarray(image[0]).save(copies[-1])
    result = glow("score", *pictures, *copies, "--checkpoint", tmp_path / "elsewhere")
    assert "no verdict: 5 of 8, since the model was trained on them\nunusual: 3 of 3 " in result.output
    scored = rows(tmp_path / "scores/scores.csv")
    assert [row["verdict"] for row in scored] == ["unusual"] * 3 + [""] * 5
    assert {row["reason"] for row in scored[3:]} == {"the model was trained on it"}
    folder = copies[0].parent / "copies"
    folder.mkdir()
    for path in (*copies, *pictures):
        path.rename(folder / path.name)
    result = glow("score", folder, "--checkpoint", trained, "--reference", folder, "--overwrite")
    assert "5 of 8 pictures of " in " ".join(result.errors)


def test_outliers_are_detected(trained: Path, tmp_path: Path, ordinary: Path, odd: Path, glow: Glow) -> None:
    result = glow("score", "--reference", ordinary, "--outliers", odd, "--checkpoint", trained)
    assert result.code == 0, result
    assert result.output.startswith("12 outliers and 12 ordinary images; 12 other ordinary images as the reference")
    scored = json.loads((tmp_path / "scores/detection.json").read_text())
    assert set(scored["scores"]) == set(ODDITIES)
    # Uniform squares are simple, and far from the samples of the model.
    assert scored["scores"]["typicality"]["auroc"] > 0.9
    assert scored["scores"]["spectrum"]["auroc"] > 0.9
    assert scored["given"] is None
    for name, one in scored["scores"].items():
        assert f"{name:<14} AUROC {one['auroc']:.3f}  AUPR {one['aupr']:.3f}" in result.output
    with Image.open(tmp_path / "scores/histograms.png") as picture:
        assert picture.size[0] > 700


def test_no_verdicts_without_a_reference(trained: Path, pictures: list[Path], glow: Glow) -> None:
    result = glow("score", *pictures, "--checkpoint", trained / "best.ckpt")
    assert result.code == 0, result
    assert "no verdicts: " in result.output
    assert f"the highest bits/dim: {Path('scores/oddest.png')}\n" in result.output
    assert "usual" not in result.output
    record = json.loads(Path("scores/scores.json").read_text())
    assert record["usual"] is None
    glow("score", *pictures, "--checkpoint", trained, "--output", "known")
    unknown = dict.fromkeys(["typicality", "latent_norm", "spectrum", "verdict", "reason", "oddness"], "")
    written, known = rows(Path("scores/scores.csv")), rows(Path("known/scores.csv"))
    assert [list(row.items()) for row in written] == [list((row | unknown).items()) for row in known]
    assert all({name for name, value in row.items() if value is None} == set(unknown) for row in record["images"])


def test_a_reference_is_stored_with_the_model(
    trained: Path, tmp_path: Path, ordinary: Path, odd: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    keep = ["score", "--reference", ordinary, "--save-reference", "--checkpoint"]
    for foreign in (trained / "best.ckpt", "fashion-mnist"):
        assert "--save-reference needs an exported model of your own" in refused(*keep, foreign, code=2)
    assert "needs --reference alone" in refused("score", odd, "--save-reference", "--checkpoint", trained, code=2)
    exported = tmp_path / "exported"
    assert glow("export", "--checkpoint", trained / "best.ckpt", "--output", exported).code == 0
    before = load_model(exported)
    assert "24 images of" in glow(*keep, exported).output
    assert model_hash(load_model(exported)) == model_hash(before)
    assert "24 ordinary images" in glow("info", exported).output
    scored = glow("score", odd, "--checkpoint", exported)
    once = glow("score", odd, "--checkpoint", trained, "--reference", ordinary, "--output", "once")
    assert f"reference: {ordinary}" in once.output
    assert rows(Path("once/scores.csv"))[0]["typicality"] == rows(Path("scores/scores.csv"))[0]["typicality"]
    assert "reference: 24 ordinary images stored with the model" in scored.output
    assert "unusual: 12 of 12 (expected of ordinary pictures: 5 %)" in scored.output
    # A second export keeps it.
    assert glow("export", "--checkpoint", exported, "--output", tmp_path / "again").code == 0
    assert read_config(tmp_path / "again")["training"] == read_config(exported)["training"]


def test_a_class_conditional_model(
    conditional: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    score = ["score", *pictures, "--checkpoint", conditional, "--output"]
    assert "given: Kind C\n" in glow(*score, "given", "--given", 2).output
    assert [row["given"] for row in rows(Path("given/scores.csv"))] == ["Kind C"] * 3
    assert "given: unknown, averaged over 10 values\n" in glow(*score, "marginal").output
    record = json.loads(Path("marginal/scores.json").read_text())
    assert record["given"] is None
    image = torch.from_numpy(np.asarray(Image.open(pictures[1])).copy())[None, None]
    model, row = load_model(conditional), record["images"][1]
    assert row["bits_per_dim"] == pytest.approx(float(model.bits_per_dim(image, None, 1, image_generators([1]))))
    under = model.bits_per_dim(image, row["given"], 1, image_generators([1]))
    assert row["bits_level_0"] + row["bits_level_1"] == pytest.approx(float(under))
