"""Read and compare the files of runs."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image


class Killed(Exception):
    """Raised to stop a training run early."""


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def logged(folder: Path, name: str) -> list[float]:
    return [float(row[name]) for row in rows(folder) if row[name]]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Compare bit for bit, also within containers."""
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, pair in enumerate(zip(a, b, strict=True)):
            assert_same(*pair, f"{where}/{index}")
    else:
        assert a == b, where


def assert_same_training(a: Path, b: Path) -> None:
    """Compare weights, averaged weights, optimiser and schedule."""
    one, other = load(a / "last.ckpt"), load(b / "last.ckpt")
    assert one["global_step"] == other["global_step"]
    for part in ("current_model_state", "state_dict", "averaging_state", "optimizer_states", "lr_schedulers"):
        assert_same(one[part], other[part], part)
