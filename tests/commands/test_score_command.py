"""`glow score`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.pictures.image_batch import Images
from glow_app.seeding import image_generators
from glow_app.storage.model_folders import read_config
from glow_app.storage.stored_model import load_model

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
    scored = rows(tmp_path / "outputs/score/scores.csv")
    assert {row["file"]: row["seed"] for row in scored} == {str(path): str(5 + i) for i, path in enumerate(pictures)}
    image = torch.from_numpy(np.asarray(Image.open(pictures[2])).copy())[None, None]
    expected = float(load_model(trained).bits_per_dim(image, None, 3, image_generators([7])))
    (third,) = (row for row in scored if row["file"] == str(pictures[2]))
    assert float(third["bits_per_dim"]) == pytest.approx(expected, rel=1e-5)
    record = json.loads((tmp_path / "outputs/score/scores.json").read_text())
    assert record["draws"] == 3
    assert record["usual"] == "180 ordinary images stored with the model"
    for row, other in zip(record["images"], scored, strict=True):
        assert {name: str(value) for name, value in row.items()} == other
        assert (row["verdict"] == "unusual") == (row["oddness"] > 95)
    with Image.open(tmp_path / "outputs/score/oddest.png") as sheet:
        assert sheet.info["model"] == load_model(trained).hash
        # In order of oddness, each below its caption.
        shown = [np.asarray(sheet)[-160:, 2 + 162 * column : 162 + 162 * column][::20, ::20] for column in range(3)]
    assert scored == sorted(scored, key=lambda row: (-float(row["oddness"]), -float(row["bits_per_dim"])))
    for part, row in zip(shown, scored, strict=True):
        assert np.array_equal(part, np.asarray(Image.open(row["file"])))


def test_no_verdicts_without_a_reference(trained: Path, pictures: list[Path], glow: Glow) -> None:
    result = glow("score", *pictures, "--checkpoint", trained / "best.ckpt")
    assert result.code == 0, result
    assert "no verdicts: " in result.output
    assert f"the highest bits/dim: {Path('outputs/score/oddest.png')}\n" in result.output
    assert "usual" not in result.output
    record = json.loads(Path("outputs/score/scores.json").read_text())
    assert record["usual"] is None
    glow("score", *pictures, "--checkpoint", trained, "--output", "known")
    unknown = dict.fromkeys(["verdict", "reason", "oddness", "percentile"], "")
    written, known = rows(Path("outputs/score/scores.csv")), rows(Path("known/scores.csv"))
    bits = [float(row["bits_per_dim"]) for row in written]
    assert bits == sorted(bits, reverse=True)
    known = [row | unknown for row in sorted(known, key=lambda row: -float(row["bits_per_dim"]))]
    assert list(map(list, written)) == list(map(list, known))
    assert written == known
    assert all({name for name, value in row.items() if value is None} == set(unknown) for row in record["images"])


def test_a_reference_is_stored_with_the_model(
    trained: Path, tmp_path: Path, ordinary: Path, odd: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    keep = ["score", "--reference", ordinary, "--save-reference", "--checkpoint"]
    for foreign in (trained / "best.ckpt", "fashion-mnist"):
        assert "--save-reference needs an exported model of your own" in refused(*keep, foreign, code=2)
    assert "--save-reference needs --reference" in refused("score", odd, "--save-reference", code=2)
    exported = tmp_path / "exported"
    assert glow("export", "--checkpoint", trained / "best.ckpt", "--output", exported).code == 0
    before = load_model(exported)
    assert "24 images of" in glow(*keep, exported).output
    assert load_model(exported).hash == before.hash
    assert "24 ordinary images" in glow("info", exported).output
    scored = glow("score", odd, "--checkpoint", exported)
    once = glow("score", odd, "--checkpoint", trained, "--reference", ordinary, "--output", "once")
    assert f"reference: {ordinary}" in once.output
    assert rows(Path("once/scores.csv"))[0]["percentile"] == rows(Path("outputs/score/scores.csv"))[0]["percentile"]
    assert "reference: 24 ordinary images stored with the model" in scored.output
    assert "unusual: 12 of 12 (expected of ordinary pictures: 5 %)" in scored.output
    # A second export keeps it.
    assert glow("export", "--checkpoint", exported, "--output", tmp_path / "again").code == 0
    assert read_config(tmp_path / "again")["training"] == read_config(exported)["training"]


def test_a_class_conditional_model(conditional: Path, pictures: list[Path], glow: Glow) -> None:
    score = ["score", *pictures, "--checkpoint", conditional, "--output"]
    assert "given: Kind C\n" in glow(*score, "given", "--given", 2).output
    assert [row["given"] for row in rows(Path("given/scores.csv"))] == ["Kind C"] * 3
    assert "given: unknown, averaged over 10 values\n" in glow(*score, "marginal").output
    record = json.loads(Path("marginal/scores.json").read_text())
    assert record["given"] is None
    image = torch.from_numpy(np.asarray(Image.open(pictures[1])).copy())[None, None]
    model, (row,) = load_model(conditional), [row for row in record["images"] if row["file"] == str(pictures[1])]
    assert row["bits_per_dim"] == pytest.approx(float(model.bits_per_dim(image, None, 1, image_generators([1]))))
    assert row["given"].startswith("Kind ")
