"""`glow edit learn` and `glow edit apply`."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from registry import random_images
from run_files import pixels
from safetensors.torch import load_file

from glow_app import __version__
from glow_app.pictures.images import grid, read_png_text, save_picture, to_pil
from glow_app.pipeline import Reference, edit, edit_attributes, infer, load_direction, measure, sample_batches
from glow_app.pipeline.reference import REFERENCE_KEY
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    return save_pretrained(load_model(trained), tmp_path / "mine")


@pytest.fixture
def examples(trained: Path, tmp_path: Path) -> Path:
    """24 samples: the even ones in one folder, and the odd ones, made brighter, in another."""
    lines = ["file,bright,number"]
    for number, (_, image) in enumerate(sample_batches(load_model(trained), 24, 0.7, 0)):
        name = f"{'dark' if number % 2 == 0 else 'bright'}/{number}.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_picture(to_pil((image.int() + 40 * (number % 2)).clamp(0, 255).byte()), tmp_path / name)
        lines.append(f"{name},{2 * (number % 2) - 1},{number}")
    (tmp_path / "attributes.csv").write_text("\n".join(lines))
    return tmp_path


def test_a_direction_is_learnt_from_two_folders_and_applied(
    model: Path, examples: Path, pictures: list[Path], glow: Glow
) -> None:
    result = glow("edit", "learn", "bright", "--with", "bright", "--without", "dark", "--checkpoint", model)
    assert result.code == 0, result
    assert result.output == f"bright, from 24 images: {model / 'directions/bright.safetensors'}\n"
    apply = ["edit", "apply", *pictures[:2], "--direction", "bright", "--checkpoint", model]
    for strength, output in ((0, "same"), (1.5, "more"), (-1.5, "less")):
        assert glow(*apply, "--strength", strength, "--output", output).code == 0
    for number, path in enumerate(pictures[:2]):
        name = f"{number:03d}_{path.stem}_bright"
        assert np.array_equal(pixels(Path(f"same/{name}.png")), pixels(path))
        brightness = [pixels(Path(f"{output}/{name}.png")).mean() for output in ("less", "same", "more")]
        assert brightness == sorted(brightness)
        assert brightness[2] - brightness[0] > 20
        loaded, image = load_model(model), torch.from_numpy(pixels(path).copy())[None, None]
        direction = load_direction("bright", loaded, model / "directions")
        frames = torch.cat([edit(loaded, image, [(direction, number)]) for number in (-1.5, -0.75, 0, 0.75, 1.5)])
        strip = grid(frames, 5, above=["-1.5", "-0.75", "0", "+0.75", "+1.5"])
        assert np.array_equal(np.asarray(strip), pixels(Path(f"more/{name}_strip.png")))
        made = {"direction": "bright", "model": load_model(model).hash, "version": __version__}
        assert read_png_text(Path(f"more/{name}.png")) == {**made, "strength": "1.5"}
        assert read_png_text(Path(f"more/{name}_strip.png")) == {**made, "strength": "-1.5, -0.75, 0, +0.75, +1.5"}


def test_directions_are_learnt_from_a_table(
    model: Path, examples: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    learn = ["edit", "learn", "--attributes", "attributes.csv", "--checkpoint", model, "--directions", "learnt"]
    assert glow(*learn).code == 0
    assert sorted(path.name for path in Path("learnt").iterdir()) == ["bright.safetensors", "number.safetensors"]
    assert "choose another NAME or --directions or pass --overwrite" in refused(*learn, "--columns", "bright")
    assert glow(*learn, "--columns", "bright", "--overwrite", "--batch-size", 5).code == 0
    two = ["--with", "bright", "--without", "dark", "--checkpoint", model, "--directions", "two"]
    assert glow("edit", "learn", "bright", *two).code == 0
    from_table, from_folders = (load_file(f"{folder}/bright.safetensors") for folder in ("learnt", "two"))
    for name, level in from_folders.items():
        torch.testing.assert_close(from_table[name], level)
    lines = Path("attributes.csv").read_text().splitlines()
    Path("twice.csv").write_text("\n".join(f"{line},{line.rpartition(',')[2]}0" for line in lines))
    assert "linearly dependent" in refused(*learn, "--attributes", "twice.csv", "--overwrite")
    Path("dark/2.png").write_text("no picture")
    result = glow(*learn, "--overwrite")
    assert result.code == 1
    assert "skipped: dark/2.png cannot be read as a picture" in result.output


def test_attributes_are_changed_by_name(
    attributed: Path, conditional: Path, pictures: list[Path], glow: Glow, refused: Callable[..., str]
) -> None:
    apply = ["edit", "apply", *pictures[:2], "--checkpoint", attributed, "--without", "hat", "--with", "age=0.7"]
    known = ["--given", "smiling,hat=1", "--strength", 0.5]
    for output, options in (("usual", []), ("same", ["--strength", 0]), ("known", known)):
        result = glow(*apply, *options, "--output", output)
        assert result.code == 0, result
        assert f"{pictures[1]}: " in result.output
    model = load_model(attributed)
    for number, path in enumerate(pictures[:2]):
        name = f"{number:03d}_{path.stem}_no_hat_age_0.7"
        assert np.array_equal(pixels(Path(f"same/{name}.png")), pixels(path))
        image = torch.from_numpy(pixels(path).copy())[None, None]
        for output, given, strengths in (
            ("usual", None, [1, 0, 0.5, 0.8, 1, 1.2]),
            ("known", {"smiling": 1, "hat": 1}, [0.5, 0, 0.25, 0.4, 0.5, 0.6]),
        ):
            changed = edit_attributes(model, image, {"hat": 0, "age": 0.7}, given, strengths)
            assert np.array_equal(pixels(Path(f"{output}/{name}.png")), changed[0, 0].numpy())
            strip = grid(changed[1:], 5, above=["0", *(f"{strength:+g}" for strength in strengths[2:])])
            assert np.array_equal(np.asarray(strip), pixels(Path(f"{output}/{name}_strip.png")))
        facts = read_png_text(Path(f"known/{name}.png"))
        assert facts["attributes"] == "no hat, age 0.7"
        assert facts["given"].startswith("smiling, hat, age ")
        assert facts["strength"] == "0.5"
    assert glow("sample", "--checkpoint", attributed, "--count", 1, "--seed", 3).code == 0
    (sample,) = Path("outputs/sample").glob("seed*.png")
    result = glow("edit", "apply", sample, "--checkpoint", attributed, "--with", "smiling", "--output", "drawn")
    values = read_png_text(sample)["given"]
    assert f"{sample}: given {values}, as drawn" in result.output
    assert "inferred" not in result.output
    assert read_png_text(Path(f"drawn/000_{sample.stem}_smiling.png"))["given"] == values
    for options, code, message in (
        (["--checkpoint", attributed, "--with", "hatt"], 1, "did you mean hat?"),
        (["--checkpoint", attributed, "--with", "hat", "--given", "hat=3"], 1, "0 or 1"),
        (["--checkpoint", conditional, "--with", "hat"], 2, "without attributes"),
        (["--checkpoint", attributed], 2, "either --direction, or"),
        (["--checkpoint", attributed, "--with", "hat", "--direction", "hat"], 2, "either --direction, or"),
    ):
        assert message in refused("edit", "apply", pictures[0], *options, "--output", "refused", code=code)


def test_a_picture_unlike_the_training_images_is_changed_with_a_warning(
    attributed: Path, pictures: list[Path], tmp_path: Path, glow: Glow
) -> None:
    model = load_model(attributed)
    reference = Reference.of(measure(model, random_images(30, (1, 8, 8)))).to_plain()
    image = torch.from_numpy(pixels(pictures[0]).copy())[None, None]
    bits = float(model.bits_per_dim(image, infer(model, image)))
    apply = ["edit", "apply", pictures[0], "--with", "hat", "--checkpoint"]
    for share, is_warned in ((0.45, True), (0.55, False)):
        facts = {REFERENCE_KEY: reference | {"bits_per_dim": [share * bits] * len(reference["bits_per_dim"])}}
        known = save_pretrained(model, tmp_path / f"known{share}", facts)
        result = glow(*apply, known, "--output", f"edits{share}")
        assert result.code == 0
        assert any("is unlike the model's training images" in line for line in result.errors) == is_warned
    facts = {REFERENCE_KEY: reference | {"bits_per_dim": [0.01 * bits] * len(reference["bits_per_dim"])}}
    known = save_pretrained(model, tmp_path / "low", facts)
    assert glow("sample", "--checkpoint", known, "--count", 1, "--output", "drawn").code == 0
    for file, is_warned in ((pictures[0], True), (next(Path("drawn").glob("*.png")), False)):
        result = glow("edit", "apply", file, "--with", "hat", "--checkpoint", known, "--output", f"of_{file.stem}")
        assert any("is unlike" in line for line in result.errors) == is_warned, "samples of the model are its own"


def test_other_commands_take_unknown_or_given_attributes(attributed: Path, pictures: list[Path], glow: Glow) -> None:
    model, images = load_model(attributed), torch.from_numpy(np.stack([pixels(path) for path in pictures])[:, None])
    for values, given in (
        ([], None),
        (["--given", "smiling", "hat=0", "age=0.3"], [{"smiling": 1}, {"hat": 0}, {"age": 0.3}]),
    ):
        options = ["--checkpoint", attributed, "--overwrite", *values]
        for command in (["reconstruct"], ["interpolate"], ["encode"], ["score"]):
            result = glow(*command, *pictures, *options)
            assert result.code == 0, result
            assert "inferred" not in result.output
        rows = sorted(json.loads(Path("outputs/score/scores.json").read_text())["images"], key=lambda row: row["seed"])
        if given is not None:
            written = csv.DictReader(Path("outputs/score/scores.csv").read_text().splitlines())
            shown = {row["seed"]: row["given"] for row in written}
            assert shown == {"0": "smiling", "1": "no hat", "2": "age 0.3"}
        assert [row["bits_per_dim"] for row in rows] == pytest.approx(model.bits_per_dim(images, given).tolist())
        assert glow("decode", "outputs/encode/latents.safetensors", "--checkpoint", attributed, "--overwrite").code == 0
        for number, path in enumerate(pictures):
            assert np.array_equal(pixels(Path(f"outputs/decode/{number:06d}_{path.stem}.png")), pixels(path))
