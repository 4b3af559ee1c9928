"""`glow test`, from a checkpoint alone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import logged

from glow_app.data.sources import load_split
from glow_app.generation.baselines import png_bits_per_dim


def bits_per_dim_lines(output: str) -> list[float]:
    return [float(value) for value in re.findall(r"^(\d+\.\d{4}) bits/dim", output, re.MULTILINE)]


def test_it_reports_what_training_logged_and_writes_nothing(
    trained: Path, tmp_path: Path, glow: Callable[..., Any]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    result = glow("test", "--split", "validation", "--checkpoint", trained)
    assert (result.code, result.errors) == (0, []), result
    found, png = bits_per_dim_lines(result.output)
    assert found == pytest.approx(min(logged(trained, "val/bpd")), abs=6e-5)
    validation = load_split("digits", "validation", (1, 8, 8), limit=256).images
    assert png == pytest.approx(png_bits_per_dim(validation, 4), abs=6e-5)
    assert "digits, validation split, 180 images of 8x8, 1 channel, 4-bit, 1 draw" in result.output
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_options_override_those_of_the_run(trained: Path, glow: Callable[..., Any]) -> None:
    test = ["test", "--checkpoint", trained / "last.ckpt", "--data.limit", 40]
    one, many = glow(*test), glow(*test, "--model.num_draws", 8)
    assert "test split, 40 images" in one.output
    assert "8 draws" in many.output
    assert bits_per_dim_lines(many.output)[0] < bits_per_dim_lines(one.output)[0]
