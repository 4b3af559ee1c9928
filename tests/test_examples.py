"""The examples print and write what they promise; the tests run them for fewer steps than a reader does."""

import ast
import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_pages import REPOSITORY
from PIL import Image
from serving_process import served

pytestmark = pytest.mark.slow

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def run(name: str, *options: str) -> str:
        monkeypatch.setattr("sys.argv", [name, *options])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def figures(pattern: str, text: str) -> list[float]:
    return [float(figure) for figure in re.findall(pattern, text)]


def test_minimal_glow_learns_inverts_and_writes_a_picture(run: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    output = run("minimal_glow.py", "--steps", "25", "--output", "samples.png")
    first, held_out = figures(r"([\d.]+) bits/dim", output)
    assert held_out < first - 0.5
    assert "decode(encode(x)) == x on 180 held-out digits" in output
    assert figures(r"largest rounding error (\S+)", output)[0] < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["samples.png"]
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.size == (10 * 50 + 2, 8 * 50 + 2)
        assert len(picture.getcolors() or []) > 10  # shades, of 16 levels and the lines


def test_glow_in_ten_lines_learns_and_writes_a_picture(run: Callable[..., str], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    source = (EXAMPLES / "glow_in_ten_lines.py").read_text()
    assert source.count("range(600)") == 1
    (tmp_path / "short.py").write_text(source.replace("range(600)", "range(15)"))
    (bits_per_dim,) = figures(r"([\d.]+) bits/dim on 180 held-out digits", run(str(tmp_path / "short.py")))
    assert bits_per_dim < 3.7  # 4.1 after one step
    with Image.open(tmp_path / "digits.png") as picture:
        assert len(picture.getcolors() or []) > 10


def test_own_bijection_has_exact_log_dets_and_beats_the_affine_coupling(run: Callable[..., str]) -> None:
    output = run("own_bijection.py", "--steps", "40")
    assert figures(r"largest error (\S+) nats", output)[0] < 1e-9
    affine, spline = figures(r"([\d.]+) nats from the truth", output)
    assert 0 < spline < 0.8 * affine


def test_priors_alone_learn_the_spirals_and_write_their_densities(run: Callable[..., str], tmp_path: Path) -> None:
    output = run("toys.py", "--steps", "40")
    learnt = dict(re.findall(r"(\w+): (-?[\d.]+) nats from the truth", output))
    assert set(learnt) == {"planar", "MAF", "IAF", "CNF"}
    assert all(0 < float(excess) < 1.2 for excess in learnt.values())  # the likeliest Gaussian: 1.135
    assert float(learnt["MAF"]) < 0.9
    with Image.open(tmp_path / "toys.png") as picture:
        assert len(picture.getcolors(2**20) or []) > 100


def test_own_steps_are_trained_saved_loaded_and_served(
    run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    output = run("own_step.py", "--steps", "15")
    assert figures(r"largest error (\S+) nats", output)[0] < 1e-9
    assert figures(r"([\d.]+) bits/dim on 180 held-out digits", output)[0] < 3.7
    with Image.open("own_step.png") as picture:
        assert len(picture.getcolors() or []) > 10
    options = re.search(r"glow (--import \S+) serve --checkpoint (\S+)", output)
    assert options is not None
    with served(tmp_path / options[2], *options[1].split()) as (_, client):
        answer = client.post("/v1/sample", json={"count": 2, "seed": 0})
    assert answer.status_code == 200
    assert len(answer.json()["images"]) == 2


def test_tour_shows_its_pictures_and_saves_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("glow_app.seeding.random_seed", lambda count: 1189621932)  # with one that explodes
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
