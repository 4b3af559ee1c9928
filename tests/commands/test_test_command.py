"""`glow test`."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_files import logged

from glow_app.data.sources import load_split
from glow_app.evaluation import mean_bits
from glow_app.pipeline.scoring import png_bits_per_dim
from glow_app.storage.stored_model import load_model


def rows_of(output: str) -> list[float]:
    """Return the figures of the rows."""
    return [float(value) for value in re.findall(r"^bits/dim\D*(\d+\.\d{4})", output, re.MULTILINE)]


def test_it_measures_a_run_and_writes_nothing(trained: Path, tmp_path: Path, glow: Callable[..., Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    result = glow("test", "--split", "validation", "--checkpoint", trained)
    assert (result.code, result.errors) == (0, []), result
    bits, png = rows_of(result.output)
    validation = load_split("digits", "validation", (1, 8, 8))
    assert bits == pytest.approx(mean_bits(load_model(trained), validation).mean, abs=6e-5)
    assert bits == pytest.approx(min(logged(trained, "val/bpd")), abs=0.02)  # of other noise
    assert png == pytest.approx(png_bits_per_dim(validation.images, 4), abs=6e-5)
    described = "digits, 180 images of the validation split (held out from the training), 8x8, 1 channel, 4-bit\n"
    assert described in result.output
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    assert list(tmp_path.iterdir()) == []


def test_several_draws_are_weighted(trained: Path, glow: Callable[..., Any]) -> None:
    result = glow("test", "--checkpoint", trained / "last.ckpt", "--limit", 40, "--draws", 8)
    assert "40 images of the test split" in result.output
    single, weighted, _ = rows_of(result.output)
    assert weighted < single
