"""`glow evaluate`."""

import json
import shlex
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from registry import tiny_model

from glow_app.data.sources import load_split
from glow_app.evaluation import compare, draw_samples, evaluation_data, load_features, mean_bits
from glow_app.models.image_model import ImageModel
from glow_app.pipeline.scoring import png_bits_per_dim
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]
FAST = ["--limit", 40, "--train-limit", 60, "--draws", 2, "--batch-size", 20]


def figures(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((folder / "evaluation.json").read_text(), parse_constant=refuse)


@pytest.mark.parametrize("command", [["test"], ["evaluate", *FAST]])
def test_an_impossible_likelihood_and_a_wrong_inverse_are_named(
    command: list[Any], trained: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(self: ImageModel, latents: list[torch.Tensor], *_: Any) -> torch.Tensor:
        return torch.zeros(len(latents[0]), 1, 8, 8, dtype=torch.uint8)

    monkeypatch.setattr(ImageModel, "bits_per_dim", lambda _, images, *__: torch.full((len(images),), -1.5))
    monkeypatch.setattr(ImageModel, "decode", decode)
    result = glow(*command, "--checkpoint", trained)
    assert result.code == 0, result
    lines = "\n".join([result.output, *result.errors])
    assert "-1.500 bits/dim are impossible" in lines
    assert "not invertible" in lines
    assert "learnt" not in lines


@pytest.mark.filterwarnings("ignore:FID of")
def test_all_figures_and_their_settings(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("evaluate", "--checkpoint", trained, "--seed", 3, "--temperature", 0.8, *FAST)
    assert result.code == 0, result
    (warning,) = set(result.errors)
    assert warning.startswith("FID of 40 images with 64 features is biased")
    record = figures(tmp_path / "outputs/evaluate")
    model = load_model(trained)
    assert (record["model"], record["num_bits"], record["seed"]) == (model.hash, 4, 3)
    # As recorded by the run: digits split by a seed, with the first 256 for training.
    data = record["data"]
    assert (data["source"], data["split"], data["images"], data["training_images"]) == ("digits", "test", 40, 60)
    assert data["as_in_training"]
    held_out = load_split("digits", "test", (1, 8, 8), limit=40)
    bits = mean_bits(model, held_out, 2, 3)
    assert record["bits_per_dim"]["importance_weighted"]["mean"] == pytest.approx(bits.mean, rel=1e-6)
    assert record["bits_per_dim"]["one_draw"]["mean"] > bits.mean
    assert record["bits_per_dim"]["png"] == pytest.approx(png_bits_per_dim(held_out.images, 4))
    extract = load_features("grey")
    real = extract(torch.from_numpy(held_out.images))
    _, drawn = draw_samples(model, 40, extract, temperature=0.8, seed=3, batch_size=20)
    expected = compare(real, drawn, 3)
    compared = record["comparisons"]["drawn"]
    assert compared["fid"] == pytest.approx(expected.fid, rel=1e-3)
    assert compared["kid"] == pytest.approx(expected.kid, rel=1e-3)
    assert (compared["precision"], compared["recall"]) == (expected.precision, expected.recall)
    # Samples of a model of two epochs differ from the data; training images do not.
    assert record["comparisons"]["training_images"]["fid"] < 0.5 * compared["fid"]
    assert record["samples"] == {"temperature": 0.8, "guidance": 1.0, "seed": 3, "count": 40, "given": None}
    assert (record["features"]["name"], record["features"]["sha256"]) == (extract.name, extract.sha256)
    assert record["nearest"]["training_images"] == 60
    assert record["reconstruction"] == {"exact_images": 1.0, "max_pixel_error": 0}
    report = (trained / "report.html").read_text()
    assert all(escape(line) in report for line in record["verdict"])
    others = record["comparisons"]["training_images"]
    assert f"<td>FID<td>{compared['fid']:.3f}<td>{others['fid']:.3f}\n" in report
    assert f"<td>recall<td>{compared['recall']:.3f}<td>{others['recall']:.3f}\n" in report
    assert f"<td>{record['bits_per_dim']['png']:.3f}\n" in report
    for text in ("held out from the training", f"{bits.mean:.4f} ± ", f"{compared['fid']:.3f}", extract.sha256):
        assert text in result.output
    with Image.open(tmp_path / "outputs/evaluate/neighbours.png") as picture:
        assert picture.height > 8 * 64
        assert picture.info["model"] == record["model"]


def test_the_report_of_a_run_names_commands_that_run(trained: Path, glow: Glow) -> None:
    Path("PICTURES").mkdir()
    Image.new("L", (8, 8)).save("PICTURES/plain.png")
    lines = [unescape(line.removeprefix("<pre>")) for line in (trained / "report.html").read_text().splitlines()]
    words = [shlex.split(line)[1:] for line in lines if line.startswith(("glow sample", "glow score"))]
    results = [glow(*line) for line in words]
    assert [(result.code, result.errors) for result in results] == [(0, [])] * 2, results


@pytest.mark.filterwarnings("ignore:FID of")
def test_a_class_conditional_model_uses_the_labels_of_the_images(
    conditional: Path, tmp_path: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    assert "pass --source" in refused("evaluate", "--checkpoint", conditional)
    result = glow("evaluate", "--checkpoint", conditional, "--source", "digits", "--count", 50, *FAST)
    assert result.code == 0, result
    assert "not checked for training images" in result.output
    assert "class 'Kind A' of the model is '0' here" in " ".join(result.errors)
    record, model = figures(tmp_path / "outputs/evaluate"), load_model(conditional)
    held_out = evaluation_data(model, {}, source="digits", limit=40).held_out
    assert record["bits_per_dim"]["one_draw"]["mean"] == pytest.approx(mean_bits(model, held_out).mean, rel=1e-6)
    assert record["samples"]["count"] == 50
    assert record["samples"]["given"] == "that of the held-out images, in turn"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FID of")
def test_colour_images_are_measured_by_features_of_their_own(tmp_path: Path, glow: Glow) -> None:
    colour = save_pretrained(tiny_model(num_bits=4, image_shape=(3, 8, 8)), tmp_path / "colour")
    options = ["evaluate", "--checkpoint", colour, "--source", "digits", *FAST]
    result = glow(*options)
    assert result.code == 0, result
    record = figures(tmp_path / "outputs/evaluate")
    assert (record["features"]["name"], record["features"]["num_features"]) == ("photos-upscale2", 108)
    assert set(record["nearest"]) == {"features", "pixels", "drawn_images", "held_out_images", "training_images"}
    assert record["samples"]["count"] == 40
    assert result.output.endswith("\n".join(record["verdict"]) + "\n")


def test_wrong_options_are_refused_before_measuring(trained: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    here = ["evaluate", "--checkpoint", trained]
    assert "there is no file nothing.pt" in refused(*here, "--features", "nothing.pt")
    assert "source folder needs --root" in refused(*here, "--source", "folder")
    Image.new("L", (8, 8)).save(tmp_path / "few.png")
    few = refused(*here, "--source", "folder", "--root", tmp_path)
    assert "too few to measure on: pass a folder of at least 8 other images as --root" in few
    assert not (tmp_path / "outputs/evaluate").exists()
