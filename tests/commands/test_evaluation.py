"""`glow validate` and `glow test`, from a checkpoint alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import logged

from glow_app.data import load_split
from glow_app.generation.baselines import histogram_bits_per_dim, png_bits_per_dim


def bits_per_dim_lines(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"^(\d+\.\d{4}) bits/dim", output, re.MULTILINE)]


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_validate_reports_what_training_logged(trained: Path, glow: Callable[..., Any], name: str) -> None:
    result = glow("validate", "--checkpoint", trained / name)
    assert result.code == 0, result
    values = logged(trained, "val/bpd")
    expected = min(values) if name == "best.ckpt" else values[-1]
    found, histogram, png = bits_per_dim_lines(result.output)
    assert found == pytest.approx(expected, abs=6e-5)
    validation = load_split("digits", "validation", (1, 8, 8), limit=256).images
    train = load_split("digits", "train", (1, 8, 8), limit=256).images
    assert histogram == pytest.approx(histogram_bits_per_dim(train, validation, 4), abs=6e-5)
    assert png == pytest.approx(png_bits_per_dim(validation, 4), abs=6e-5)
    assert "digits, validation split, 180 images of 8x8, 1 channel, 4-bit, 1 draw" in result.output


@pytest.mark.parametrize("command", ["validate", "test"])
def test_from_the_run_folder(trained: Path, glow: Callable[..., Any], command: str) -> None:
    result = glow(command, "--checkpoint", trained)
    assert result.code == 0, result
    same = glow(command, "--checkpoint", trained / "best.ckpt")
    assert bits_per_dim_lines(result.output) == bits_per_dim_lines(same.output)


def test_nothing_is_written_and_twice_is_the_same(trained: Path, tmp_path: Path, glow: Callable[..., Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    results = [glow("test", f"--checkpoint={trained}/last.ckpt") for _ in range(2)]
    assert [result.code for result in results] == [0, 0]
    assert results[0].output == results[1].output
    assert "test split" in results[0].output
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_more_draws_bound_more_tightly(trained: Path, glow: Callable[..., Any]) -> None:
    one = glow("validate", "--checkpoint", trained / "last.ckpt")
    many = glow("validate", "--checkpoint", trained / "last.ckpt", "--model.num_draws", 8)
    assert "8 draws" in many.output
    assert bits_per_dim_lines(many.output)[0] < bits_per_dim_lines(one.output)[0]


def test_options_override_the_checkpoint(trained: Path, glow: Callable[..., Any]) -> None:
    result = glow("validate", "--checkpoint", trained / "last.ckpt", "--data.limit", 40)
    assert result.code == 0, result
    assert "40 images" in result.output


def test_a_split_is_measured_whole(
    tmp_path: Path, glow: Callable[..., Any], tiny_run: list[str], refused: Callable[..., str]
) -> None:
    run = tmp_path / "run"
    assert (
        glow("fit", "--run_dir", run, *tiny_run, "--trainer.limit_val_batches=1", "--trainer.overfit_batches=1").code
        == 0
    )
    part, whole = (glow("validate", "--checkpoint", run, *limit).output for limit in (["--data.limit=32"], []))
    assert re.search(r"validation split, 32 images", part)
    assert part.split()[0] != whole.split()[0]
    for name in ("limit_val_batches", "overfit_batches"):
        again = ["validate", "--checkpoint", run, f"--trainer.{name}=1"]
        assert f"--trainer.{name} would measure a part; limit the images" in refused(*again, code=2)


def test_evaluation_says_nothing_on_standard_error(trained: Path, glow: Callable[..., Any]) -> None:
    assert glow("validate", "--checkpoint", trained / "best.ckpt").errors == []
