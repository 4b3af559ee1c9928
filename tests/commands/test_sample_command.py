"""`glow sample`: images by seed, grids, classes, and the results folder."""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from registry import class_grid, tiny_model
from run_files import pixels

from glow_app import __version__, cli
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.images import read_png_text
from glow_app.pipeline import sample_batches
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]
Refused = Callable[..., str]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def record_of(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / "run.json").read_text())


@pytest.fixture
def sampled(exported: Path, tmp_path: Path, glow: Glow) -> Path:
    folder = tmp_path / "sampled"
    result = glow("sample", "--checkpoint", exported, "--count", 4, "--seed", 7, "--output", folder)
    assert (result.code, result.errors) == (0, []), result
    return folder


def test_pictures_record_and_metadata(sampled: Path, exported: Path, glow: Glow) -> None:
    names = [f"seed{seed:06d}_t0.70.png" for seed in (7, 8, 9, 10)]
    assert sorted(contents(sampled)) == ["grid.png", "run.json", *names]
    model = load_model(exported)
    facts = {"temperature": 0.7, "model": model.hash, "version": __version__}
    record = {"seed": 7, "count": 4, "checkpoint": str(exported), **facts}
    files = [{"file": name, "seed": seed} for seed, name in enumerate(names, 7)]
    assert record_of(sampled) == {**record, "files": [*files, {"file": "grid.png", "seed": 7, "count": 4}]}
    images = [pixels(sampled / name) for name in names]
    assert np.array_equal(images, model.sample(4, 0.7, 7)[:, 0].numpy())
    assert len({image.tobytes() for image in images}) == 4
    texts = {name: str(fact) for name, fact in facts.items()}
    assert read_png_text(sampled / "grid.png") == {"seed": "7", "count": "4", **texts}
    printed = glow("info", sampled / names[2]).output.splitlines()
    assert dict(line.split(maxsplit=1) for line in printed) == {"seed": "9", **texts}


@pytest.mark.parametrize(
    ("options", "temperature", "guidance", "ending"),
    [
        ([], [0.5, 0.9], 1.25, "t0.50-0.90_g1.25"),
        (["--temperature", "0,0.7"], [0.0, 0.7], 1.25, "t0.00-0.70_g1.25"),
        (["--guidance", 1], [0.5, 0.9], 1.0, "t0.50-0.90"),
        (["--temperature", 0.8, "--guidance", 1.5], 0.8, 1.5, "t0.80_g1.5"),
    ],
)
def test_guidance_and_recommended_settings(
    conditional: Path, glow: Glow, options: list[object], temperature: Any, guidance: float, ending: str
) -> None:
    model = load_model(conditional)
    model.generation = GenerationSettings((0.5, 0.9), 1.25)
    place = save_pretrained(model, Path("model"))
    assert glow("sample", "--checkpoint", place, "--count", 2, "--seed", 7, *options).code == 0
    _, (_, expected) = sample_batches(model, 2, temperature, 7, guidance=guidance)
    name = f"seed000008_{ending}.png"
    assert np.array_equal(pixels(Path("outputs/sample") / name), expected[0].numpy())
    record = record_of("outputs/sample")
    assert (record["temperature"], record.get("guidance", 1)) == (temperature, guidance)
    assert ("not samples of the model's own" in record.get("note", "")) == (guidance != 1)
    assert read_png_text(Path("outputs/sample") / name).get("guidance") == (None if guidance == 1 else str(guidance))


@pytest.mark.parametrize(("count", "labels", "drawn"), [(9, [], 9), (None, [1, 2], 16)])
def test_grid_rows_hold_complete_cycles_of_classes(
    glow: Glow, count: int | None, labels: list[int], drawn: int
) -> None:
    model = tiny_model(image_shape=(1, 8, 8), num_classes=3)
    save_pretrained(model, Path("model"))
    options = [*(["--count", count] if count else []), *(["--given", *labels] if labels else [])]
    assert glow("sample", "--checkpoint", "model", "--seed", 1, *options).code == 0
    files = sorted(Path("outputs/sample").glob("seed*"))
    assert len(files) == drawn
    images = torch.stack([torch.from_numpy(pixels(path).copy())[None] for path in files])
    assert np.array_equal(
        pixels(Path("outputs/sample/grid.png")), np.asarray(class_grid(model, images, 1, labels or None))
    )


def test_a_random_seed_is_printed_and_recorded(exported: Path, glow: Glow) -> None:
    seeds = []
    for folder in ("a", "b"):
        result = glow("sample", "--checkpoint", exported, "--count", 2, "--output", folder)
        seeds.append(record_of(folder)["seed"])
        assert f"seed {seeds[-1]}:" in result.output
        assert Path(folder, f"seed{seeds[-1] + 1:06d}_t0.70.png").exists()
    assert seeds[0] != seeds[1]


def test_textures_of_another_size(exported: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", exported, "--count", 3, "--seed", 1, "--size", "16x24")
    assert result.code == 0, result
    assert [pixels(path).shape for path in sorted(Path("outputs/sample").glob("seed*.png"))] == [(24, 16)] * 3


def test_results_go_to_the_next_free_folder(
    sampled: Path, exported: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(sampled)
    options = ["sample", "--checkpoint", exported, "--count", 1, "--seed"]
    monkeypatch.chdir(sampled)
    for number, place in ((2, sampled), (3, ".")):
        result = glow(*options, number, "--output", place)
        beside = sampled.with_name(f"{sampled.name}-{number}")
        assert f"{place} already contains results; writing to {beside}" in result.output
        assert record_of(beside)["seed"] == number
    assert contents(sampled) == before


def test_overwrite_keeps_pictures_of_other_names(sampled: Path, exported: Path, glow: Glow) -> None:
    before = contents(sampled)
    options = ["sample", "--checkpoint", exported, "--output", sampled, "--overwrite", "--count", 1, "--seed"]
    assert glow(*options, 20, "--temperature", 1).code == 0
    after = contents(sampled)
    assert after.keys() == {*before, "seed000020_t1.00.png"}
    assert {name for name in before if after[name] != before[name]} == {"grid.png", "run.json"}
    assert [entry["file"] for entry in record_of(sampled)["files"]] == ["seed000020_t1.00.png", "grid.png"]


def full_disk() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("event", "number"), [(full_disk, 1), (full_disk, 3), (partial(signal.raise_signal, signal.SIGTERM), 3)]
)
def test_a_full_disk_and_sigterm_leave_only_complete_pictures(
    exported: Path, monkeypatch: pytest.MonkeyPatch, glow: Glow, event: Callable[[], None], number: int
) -> None:
    save, count = Image.Image.save, 0

    def half(self: Image.Image, file: Any, *args: Any, **options: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            file.write(b"\x89PNG half of a picture")
            event()
        save(self, file, *args, **options)

    monkeypatch.setattr(Image.Image, "save", half)
    before = signal.signal(signal.SIGTERM, cli._exit_on_signal)
    try:
        result = glow("sample", "--checkpoint", exported, "--count", 4, "--seed", 7)
    finally:
        signal.signal(signal.SIGTERM, before)
    if event is full_disk:
        assert "No space left" in result.errors[0]
    assert result.code == (1 if event is full_disk else 143)
    names = [f"seed{seed:06d}_t0.70.png" for seed in (7, 8, 9, 10)][: number - 1]
    assert sorted(contents(Path("outputs/sample")).keys() - {"run.json"}) == names
    if not names:
        return
    assert [file["file"] for file in record_of("outputs/sample")["files"]] == names
    assert all(pixels(Path("outputs/sample", name)).shape == (8, 8) for name in names)


def test_attributes_are_asked_for_by_name(attributed: Path, glow: Glow) -> None:
    chosen = ["--with", "smiling", "--without", "hat", "--with", "age=0.25"]
    options = ["sample", "--checkpoint", attributed, "--seed", 3, "--count", 2, "--output"]
    for folder, more in (("options", []), ("given", None), ("clear", ["--guidance", 1.02])):
        asked = ["--given", "smiling, hat=0,age=0.25"] if more is None else [*chosen, *more]
        assert glow(*options, folder, *asked).code == 0
    given = {"smiling": 1, "hat": 0, "age": 0.25}
    assert record_of("options")["given"] == record_of("given")["given"] == [given]
    name, model = "seed000004_t0.70", load_model(attributed)
    for folder, end, guidance in (("options", "", 1), ("given", "", 1), ("clear", "_g1.02", 1.02)):
        _, (_, expected) = sample_batches(model, 2, 0.7, 3, [given], guidance=guidance)
        assert np.array_equal(pixels(Path(folder, f"{name}{end}.png")), expected[0].numpy())
    vocabulary = model.vocabulary
    (hue,) = (row["hue"] for row in vocabulary.format(vocabulary.default([4], vocabulary.parse(given, 1))))
    assert read_png_text(Path("options") / f"{name}.png")["given"] == f"smiling, no hat, age 0.25, hue {hue:.3g}"
    assert glow(*options, "open", "--guidance", 1.02).code == 0  # of what the samples are drawn with
    (drawn,) = vocabulary.format(vocabulary.default([4], None))
    _, (_, expected) = sample_batches(model, 2, 0.7, 3, [{}, drawn], guidance=1.02)
    assert np.array_equal(pixels(Path("open", f"{name}_g1.02.png")), expected[0].numpy())
    assert "note" not in record_of("options")
    assert glow(*options, "turns", "--given", "hat", "hat=0").code == 0
    assert [entry["given"]["hat"] for entry in record_of("turns")["files"][:2]] == [0, 1]


@pytest.mark.parametrize(
    ("kind", "options", "code", "message"),
    [
        ("attributed", ["--with", "smilling"], 1, "did you mean smiling?"),
        ("attributed", ["--with", "hat", "--without", "hat"], 1, "hat is given twice"),
        ("attributed", ["--without", "age"], 1, "age needs a number"),
        ("attributed", ["--without", "hat=1"], 1, "did you mean hat?"),
        ("attributed", ["--with", "hat", "--given", "hat"], 2, "not both"),
        ("conditional", ["--with", "hat"], 2, "without attributes"),
        ("exported", ["--given", "three"], 1, "unconditional"),
        ("exported", ["--size", "16"], 2, "--size: must be WIDTHxHEIGHT"),
        ("exported", ["--size", "10x8"], 1, "height is 8 and width is 10; expected multiples of"),
        (
            "exported",
            ["--seed", 2**31 - 2, "--count", 3],
            2,
            "the last seed is 2147483648; expected at most 2147483647",
        ),
    ],
)
def test_unsuitable_options_are_refused(
    kind: str, options: list[object], code: int, message: str, refused: Refused, request: pytest.FixtureRequest
) -> None:
    assert message in refused("sample", "--checkpoint", request.getfixturevalue(kind), *options, code=code)
    assert not list(Path().iterdir())
