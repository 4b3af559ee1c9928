"""The examples do what their pages say, run as a reader runs them but for fewer steps."""

import ast
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from docs_pages import REPOSITORY
from PIL import Image
from registry import perturb

from glow_app.bijections import Bijection

EXAMPLES = REPOSITORY / "examples"


def run(name: str, *options: str, folder: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *options]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr
    return result.stdout


def figures(pattern: str, text: str) -> list[float]:
    return [float(figure) for figure in re.findall(pattern, text)]


def test_minimal_glow_learns_inverts_and_writes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    output = run("minimal_glow.py", "--steps", "25", "--output", "samples.png", folder=tmp_path)
    first, held_out = figures(r"([\d.]+) bits/dim", output)
    assert held_out < first - 0.5
    assert "decode(encode(x)) == x on 180 held-out digits" in output
    assert figures(r"largest rounding error (\S+)", output)[0] < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (10 * 50 + 2, 8 * 50 + 2)
        assert len(picture.getcolors() or []) > 10  # shades, of 16 levels and the lines


def test_own_bijection_is_right_and_better_than_the_affine_coupling(tmp_path: Path) -> None:
    output = run("own_bijection.py", "--steps", "60", folder=tmp_path)
    assert figures(r"largest error (\S+) nats", output)[0] < 1e-9
    affine, spline = figures(r"([\d.]+) nats from the truth", output)
    assert 0 < spline < 0.8 * affine


def test_own_bijection_keeps_the_contract() -> None:
    make = runpy.run_path(str(EXAMPLES / "own_bijection.py"))["spline_coupling"]
    coupling: Bijection = make(num_channels=4, hidden_channels=6).double()
    x = torch.randn(3, 4, 2, 3, dtype=torch.float64)
    coupling.initialize(x)
    assert torch.allclose(coupling(x)[0], x)
    perturb(coupling, size=0.1)
    z, log_det = coupling(x)
    again, back = coupling.inverse(z)
    assert not torch.allclose(z, x)
    assert torch.allclose(again, x, atol=1e-9)
    assert torch.allclose(log_det + back, torch.zeros_like(back), atol=1e-9)
    with pytest.raises(ValueError, match="expects shape"):
        coupling(x[:, :2])
    with pytest.raises(ValueError, match="even number"):
        make(num_channels=3, hidden_channels=6)


def test_the_tour_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads((EXAMPLES / "tour.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        tree = ast.parse("".join(cell["source"]))
        if isinstance(last := tree.body[-1], ast.Expr):
            tree.body[-1] = ast.Assign([ast.Name("shown", ast.Store())], last.value)
        exec(compile(ast.fix_missing_locations(tree), "tour", "exec"), names)
        shown.append(names.pop("shown", None))
    pictures = [one._repr_png_() for one in shown if one is not None]
    assert len(pictures) == 7
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face.png", "faces", "faces.png"]
