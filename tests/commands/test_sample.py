"""`glow sample`, and what `glow info` and `glow export` make of it."""

import gc
import json
import os
import re
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from registry import class_grid, tiny_model
from run_files import pixels

from glow_app import __version__
from glow_app.commands.sample_folder import SampleFolder
from glow_app.generation import sample_batches, sweep
from glow_app.models.generation_settings import GenerationSettings
from glow_app.pictures.image_batch import Images
from glow_app.pictures.images import grid, read_png_text
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def sampled(trained: Path, tmp_path: Path, glow: Glow) -> Path:
    folder = tmp_path / "sampled"
    result = glow("sample", "--checkpoint", trained, "--count", 4, "--seed", 7, "--output", folder)
    assert result.code == 0, result
    assert result.errors == []
    return folder


def test_names_and_record(sampled: Path, trained: Path) -> None:
    names = [f"seed{seed:06d}_t0.70.png" for seed in (7, 8, 9, 10)]
    assert sorted(contents(sampled)) == ["grid.png", "run.json", *names]
    record = json.loads((sampled / "run.json").read_text())
    assert record == {
        "seed": 7,
        "count": 4,
        "temperature": 0.7,
        "model": model_hash(load_model(trained)),
        "version": __version__,
        "checkpoint": str(trained),
        "pictures": ["grid.png"],
        "files": [{"file": name, "seed": seed} for seed, name in enumerate(names, 7)],
    }
    assert pixels(sampled / names[0]).shape == (8, 8)


def test_pictures_are_what_the_model_samples(sampled: Path, trained: Path) -> None:
    expected = load_model(trained).sample(16, 0.7, 7)[:4, 0].numpy()
    found = [pixels(sampled / f"seed{seed:06d}_t0.70.png") for seed in (7, 8, 9, 10)]
    assert np.array_equal(found, expected)
    assert len({image.tobytes() for image in found}) == 4


def test_a_picture_knows_its_origin(sampled: Path, trained: Path, glow: Glow) -> None:
    path = sampled / "seed000009_t0.70.png"
    facts = {"seed": "9", "temperature": "0.7", "model": model_hash(load_model(trained)), "version": __version__}
    assert read_png_text(path) == facts
    assert read_png_text(sampled / "grid.png") == {**facts, "seed": "7", "count": "4"}
    result = glow("info", path)
    assert result.code == 0
    assert dict(line.split(maxsplit=1) for line in result.output.splitlines()) == facts


def test_the_same_seed_gives_the_same_bytes(sampled: Path, trained: Path, tmp_path: Path, glow: Glow) -> None:
    glow("sample", "--checkpoint", trained, "--count", 4, "--seed", 7, "--output", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(sampled)


@pytest.mark.parametrize("options", [[], ["--batch-size", 1], ["--batch-size", 3], ["--batch-size", 64]])
def test_an_image_depends_on_its_own_seed_alone(
    sampled: Path, trained: Path, tmp_path: Path, glow: Glow, options: list[object]
) -> None:
    glow("sample", "--checkpoint", trained, "--count", 1, "--seed", 9, "--output", tmp_path / "one", *options)
    name = "seed000009_t0.70.png"
    assert (tmp_path / "one" / name).read_bytes() == (sampled / name).read_bytes()


def test_the_largest_seed_is_the_last(trained: Path, glow: Glow, refused: Callable[..., str]) -> None:
    options = ["--checkpoint", trained, "--seed", 2**31 - 2, "--count"]
    assert glow("sample", *options, 2).code == 0
    assert Path("samples/seed2147483647_t0.70.png").exists()
    assert "the last seed is 2147483648; expected at most 2147483647" in refused("sample", *options, 3, code=2)


def test_other_seeds_and_temperatures_differ(sampled: Path, trained: Path, tmp_path: Path, glow: Glow) -> None:
    glow("sample", "--checkpoint", trained, "--count", 1, "--seed", 7, "--temperature", 1, "--output", tmp_path / "one")
    assert not np.array_equal(
        pixels(tmp_path / "one" / "seed000007_t1.00.png"), pixels(sampled / "seed000007_t0.70.png")
    )


def test_temperature_zero_is_one_image(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 3, "--seed", 1, "--temperature", 0)
    assert result.code == 0, result
    images = [pixels(path) for path in sorted((tmp_path / "samples").glob("seed*_t0.00.png"))]
    assert len(images) == 3
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_a_temperature_for_each_level(trained: Path, tmp_path: Path, glow: Glow, refused: Callable[..., str]) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 2, "--seed", 1, "--temperature", "0,0.7")
    assert result.code == 0, result
    assert "at temperature 0, 0.7, seed 1" in result.output
    expected = load_model(trained).sample(16, [0.0, 0.7], 1)[0, 0].numpy()
    assert np.array_equal(pixels(tmp_path / "samples/seed000001_t0.00-0.70.png"), expected)
    assert read_png_text(tmp_path / "samples/seed000001_t0.00-0.70.png")["temperature"] == "[0.0, 0.7]"
    options = ["--checkpoint", trained, "--output", tmp_path / "other", "--temperature"]
    assert "3 temperatures; expected 1, or 2" in refused("sample", *options, "1,1,1")
    assert "expected a number from 0 to 100" in refused("sample", *options, "0.7,-1", code=2)


def test_guidance_and_the_settings_that_the_model_recommends(
    conditional: Path, tmp_path: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    model = load_model(conditional)
    model.generation = GenerationSettings((0.5, 0.9), 1.25)
    place = save_pretrained(model, tmp_path / "model")

    def drawn(*options: object) -> tuple[str, dict[str, Any], np.ndarray]:
        result = glow("sample", "--checkpoint", place, "--count", 2, "--seed", 7, "--overwrite", *options)
        assert result.code == 0, result
        (path,) = (tmp_path / "samples").glob("seed000008*")
        return (
            result.output,
            json.loads((tmp_path / "samples/run.json").read_text()) | {"name": path.name},
            pixels(path),
        )

    for options, temperature, guidance, name in (
        ([], [0.5, 0.9], 1.25, "seed000008_t0.50-0.90_g1.25.png"),
        (["--temperature", 1], 1.0, 1.25, "seed000008_t1.00_g1.25.png"),
        (["--guidance", 1], [0.5, 0.9], 1.0, "seed000008_t0.50-0.90.png"),
        (["--temperature", 0.8, "--guidance", 1.5], 0.8, 1.5, "seed000008_t0.80_g1.5.png"),
    ):
        output, record, image = drawn(*options)
        _, (_, expected) = sample_batches(model, 2, temperature, 7, guidance=guidance)
        assert np.array_equal(image, expected[0].numpy())
        assert (record["name"], record["temperature"]) == (name, temperature)
        assert (" and guidance " in output) == ("guidance" in record) == (guidance != 1)
        assert ("not samples of the model's own" in record.get("note", "")) == (guidance != 1)
        assert read_png_text(tmp_path / "samples" / name).get("guidance") == (None if guidance == 1 else str(guidance))
    assert "at temperature 0.8 and guidance 1.5, seed 7" in output
    facts = glow("info", place).output
    assert re.search(r"^drawn with +temperature 0\.5, 0\.9 and guidance 1\.25$", facts, re.MULTILINE)
    assert "10.5 is not a guidance; expected a number from 0 to 10" in refused("sample", "--guidance", 10.5, code=2)


def test_a_sweep_shows_the_same_noise_at_several_temperatures(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 3, "--seed", 1, "--sweep", "0,0.7,1")
    assert result.output.splitlines()[-1] == f"sweep: {Path('samples/sweep.png')}"
    rows = sweep(load_model(trained), [0.0, 0.7, 1.0], [1, 2, 3])
    expected = grid(rows.flatten(0, 1), columns=3, left=["T = 0", "T = 0.7", "T = 1"])
    assert np.array_equal(pixels(tmp_path / "samples/sweep.png"), np.asarray(expected))
    made = {"seed": "1", "count": "3", "temperature": "0, 0.7, 1", "version": __version__}
    assert read_png_text(tmp_path / "samples/sweep.png") == {**made, "model": model_hash(load_model(trained))}
    assert torch.equal(rows[0, 0], rows[0, 1])
    assert not torch.equal(rows[1, 0], rows[1, 1])
    assert torch.equal(rows[1], load_model(trained).sample(3, 0.7, 1))


def test_a_sweep_has_whole_turns_of_the_named_classes(conditional: Path, tmp_path: Path, glow: Glow) -> None:
    options = ["--checkpoint", conditional, "--seed", 8, "--sweep", 0.7, "--count"]
    for count, shown in ((30, 10), (4, 4)):
        assert glow("sample", *options, count, "--output", str(count)).code == 0
        rows = sweep(load_model(conditional), [0.7], range(8, 8 + shown))
        names = [f"Kind {'ABCDEFGHIJ'[seed % 10]}" for seed in range(8, 8 + shown)]
        expected = grid(rows[0], shown, above=names, left=["T = 0.7"])
        assert np.array_equal(pixels(tmp_path / str(count) / "sweep.png"), np.asarray(expected))


@pytest.mark.parametrize("count", [1, 9, 16, 30])
def test_a_grid_has_whole_turns_of_the_classes_in_a_row(tmp_path: Path, glow: Glow, count: int) -> None:
    model = tiny_model(image_shape=(1, 8, 8), num_classes=2)
    save_pretrained(model, tmp_path / "model")
    assert glow("sample", "--checkpoint", tmp_path / "model", "--count", count, "--seed", 1).code == 0
    files = sorted((tmp_path / "samples").glob("seed*"))
    images = torch.stack([torch.from_numpy(pixels(path).copy())[None] for path in files])
    assert np.array_equal(pixels(tmp_path / "samples/grid.png"), np.asarray(class_grid(model, images, 1)))


@pytest.mark.parametrize(("num_classes", "options", "count"), [(3, [], 18), (3, ["--label", 1, 2], 16), (None, [], 16)])
def test_so_many_images_as_fill_the_rows(
    tmp_path: Path, glow: Glow, num_classes: int | None, options: list[object], count: int
) -> None:
    save_pretrained(tiny_model(image_shape=(1, 8, 8), num_classes=num_classes), tmp_path / "model")
    assert glow("sample", "--checkpoint", tmp_path / "model", *options).code == 0
    assert len(list((tmp_path / "samples").glob("seed*"))) == count


def test_a_grid_of_many_shows_the_first_hundred(
    trained: Path, tmp_path: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []

    def watched(*arguments: Any) -> Iterator[tuple[int, torch.Tensor]]:
        for seed, image in sample_batches(*arguments):
            kept.append(weakref.ref(image))
            yield seed, image

    monkeypatch.setattr("glow_app.generation.sample_batches", watched)

    def drawn_grid(images: Images) -> Image.Image:
        gc.collect()
        assert len(kept) == 130
        assert sum(image() is not None for image in kept) == 101  # the last one, too
        return grid(images)

    monkeypatch.setattr(Images, "grid", drawn_grid)
    result = glow("sample", "--checkpoint", trained, "--count", 130, "--seed", 0)
    assert result.output.endswith(f"{Path('samples/grid.png')} (the first 100)\n")
    images = torch.stack([image for _, image in sample_batches(load_model(trained), 100, 0.7, 0)])
    assert np.array_equal(pixels(tmp_path / "samples/grid.png"), np.asarray(grid(images)))
    assert read_png_text(tmp_path / "samples/grid.png")["count"] == "100"


def test_a_seed_left_out_is_drawn_printed_and_saved(trained: Path, tmp_path: Path, glow: Glow) -> None:
    seeds = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        result = glow("sample", "--checkpoint", trained, "--count", 2, "--output", folder)
        assert result.code == 0, result
        found = re.search(r"seed (\d+)", result.output)
        assert found is not None
        seeds.append(json.loads((folder / "run.json").read_text())["seed"])
        assert int(found[1]) == seeds[-1]
        assert (folder / f"seed{seeds[-1] + 1:06d}_t0.70.png").exists()
    assert seeds[0] != seeds[1]


def test_nothing_is_overwritten_unasked(sampled: Path, trained: Path, glow: Glow, refused: Callable[..., str]) -> None:
    before = contents(sampled)
    options = ["--checkpoint", trained, "--output", sampled]
    # Neither where only the grid would be replaced.
    for number, seed in enumerate((10, 100), 2):
        result = glow("sample", *options, "--seed", seed, "--count", 1)
        beside = sampled.with_name(f"{sampled.name}-{number}")
        assert f"{sampled} holds samples already; these go to {beside} (--overwrite replaces)" in result.output
        assert json.loads((beside / "run.json").read_text())["seed"] == seed
    assert contents(sampled) == before
    assert glow("sample", *options, "--seed", 10, "--count", 1, "--temperature", 1, "--overwrite").code == 0
    assert json.loads((sampled / "run.json").read_text())["seed"] == 10


def test_overwriting_takes_the_place_of_the_run_before_and_of_nothing_else(
    sampled: Path, trained: Path, glow: Glow
) -> None:
    others = ["notes.txt", "mine.png", "seed000099_t0.70.png", "sweep.png"]
    for name in others:
        (sampled / name).write_text("mine")
    options = ["sample", "--checkpoint", trained, "--output", sampled, "--overwrite", "--seed"]
    assert glow(*options, 9, "--count", 3).code == 0
    names = {"grid.png", "run.json", *(f"seed{seed:06d}_t0.70.png" for seed in (9, 10, 11))}
    assert contents(sampled).keys() == names | {*others}
    assert glow(*options, 20, "--count", 1, "--temperature", 1).code == 0
    assert contents(sampled).keys() == {"grid.png", "run.json", "seed000020_t1.00.png", *others}
    assert (sampled / "seed000099_t0.70.png").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_at_a_time_neither_removes_the_pictures_of_the_other(tmp_path: Path, overwrite: bool) -> None:
    runs = [SampleFolder(tmp_path, range(n, n + 2), "_t0.70.png", []).free(overwrite) for n in (0, 100)]
    for run in runs:
        for seed in run.seeds:
            (tmp_path / run.name(seed)).touch()
        run.finish({}, lambda _: {})
    assert {path.name for path in tmp_path.glob("*.png")} == {run.name(seed) for run in runs for seed in run.seeds}


def sampling(trained: Path, folder: Path, *options: str, wanted: int = 3) -> subprocess.Popen[str]:
    """Return a process of `glow sample`, with a session of its own, that has written some pictures."""
    options = ("sample", "--checkpoint", str(trained), "--count", "100000", "--output", str(folder), *options)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "glow_app", *options],
        env=environment,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    for _ in range(600):
        if process.poll() is not None or len([*folder.glob("seed*.png")]) >= wanted:
            break
        time.sleep(0.1)
    assert process.poll() is None
    return process


def test_sigterm_leaves_a_record_of_what_is_there(trained: Path, tmp_path: Path) -> None:
    process = sampling(trained, tmp_path / "samples")
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in errors
    listed = {file["file"] for file in json.loads((tmp_path / "samples/run.json").read_text())["files"]}
    written = contents(tmp_path / "samples").keys() - {"run.json"}
    assert listed <= written
    assert len(written - listed) <= 1  # the signal may come when a picture is written and not yet counted


@pytest.mark.parametrize(
    "record",
    [
        "no JSON",
        "[]",
        '{"files": 3}',
        '{"files": [{"file": 3}], "pictures": []}',
        '{"files": [{"file": "../thesis.tex"}, {"file": "/thesis.tex"}, {"file": "thesis.tex"}], "pictures": ["x"]}',
    ],
)
def test_a_strange_record_removes_nothing(
    sampled: Path, trained: Path, tmp_path: Path, glow: Glow, record: str
) -> None:
    for place in (tmp_path, sampled):
        (place / "thesis.tex").write_text("years")
    (sampled / "run.json").write_text(record)
    before = contents(sampled).keys()
    options = ["sample", "--checkpoint", trained, "--output", sampled, "--overwrite", "--seed", 20, "--count", 1]
    assert glow(*options).code == 0
    assert contents(sampled).keys() == before | {"seed000020_t0.70.png"}
    assert (tmp_path / "thesis.tex").exists()


def test_the_export_samples_the_same_bytes(trained: Path, tmp_path: Path, glow: Glow) -> None:
    assert glow("export", "--checkpoint", trained / "best.ckpt", "--output", tmp_path / "exported").code == 0
    for number, source in enumerate([trained / "best.ckpt", tmp_path / "exported", trained / "model"]):
        glow("sample", "--checkpoint", source, "--count", 3, "--seed", 0, "--output", tmp_path / str(number))
    one, two, three = ({**contents(tmp_path / name), "run.json": b""} for name in "012")
    assert one == two == three


def test_an_export_is_not_overwritten_unasked(
    trained: Path, tmp_path: Path, glow: Glow, refused: Callable[..., str]
) -> None:
    export = ["export", "--output", tmp_path / "exported", "--checkpoint"]
    assert glow(*export, trained / "best.ckpt").code == 0
    before = contents(tmp_path / "exported")
    assert "--overwrite" in refused(*export, trained / "last.ckpt")
    assert contents(tmp_path / "exported") == before
    assert glow(*export, trained / "last.ckpt", "--overwrite").code == 0


def test_an_export_never_replaces_something_else(trained: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    refused("export", "--checkpoint", trained, "--output", tmp_path / "mine", "--overwrite")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


def test_a_class_conditional_model_takes_the_classes_in_turn(conditional: Path, tmp_path: Path, glow: Glow) -> None:
    for folder, options in (("all", []), ("three", ["--label", 3]), ("four", ["--label", 4])):
        result = glow(
            "sample", "--checkpoint", conditional, "--count", 20, "--seed", 0, "--output", tmp_path / folder, *options
        )
        assert result.code == 0, result
    two = glow("sample", "--checkpoint", conditional, "--count", 4, "--seed", 3, "--output", "two", "--label", 4, 3)
    assert two.code == 0, two
    images = {
        folder: [pixels(tmp_path / folder / f"seed{seed:06d}_t0.70.png") for seed in range(20)]
        for folder in ("all", "three", "four")
    }
    for seed in (3, 13):
        assert np.array_equal(images["all"][seed], images["three"][seed])
        assert not np.array_equal(images["three"][seed], images["four"][seed])
    assert np.array_equal(images["all"][4], images["four"][4])
    assert not np.array_equal(images["all"][4], images["three"][4])
    for seed in (3, 5):  # odd seeds take the second of the two classes, even ones the first
        assert np.array_equal(pixels(tmp_path / f"two/seed{seed:06d}_t0.70.png"), images["three"][seed])
    assert np.array_equal(pixels(tmp_path / "two/seed000004_t0.70.png"), images["four"][4])
    assert json.loads((tmp_path / "three" / "run.json").read_text())["label"] == 3
    assert read_png_text(tmp_path / "three" / "seed000000_t0.70.png")["label"] == "3"
    text = read_png_text(tmp_path / "two" / "grid.png")
    assert (text["label"], text["class"]) == ("4, 3", "Kind E, Kind D")
    for folder, seed, label in (("all", 13, 3), ("two", 4, 4), ("two", 5, 3)):
        path = tmp_path / folder / f"seed{seed:06d}_t0.70.png"
        facts = dict(line.split(maxsplit=1) for line in glow("info", path).output.splitlines())
        assert (facts["label"], facts["class"]) == (str(label), f"Kind {'ABCDE'[label]}")
        files = json.loads((tmp_path / folder / "run.json").read_text())["files"]
        assert {"file": path.name, "seed": seed, "label": label, "class": facts["class"]} in files


def test_a_class_by_its_name(conditional: Path, glow: Glow, refused: Callable[..., str]) -> None:
    options = ["sample", "--checkpoint", conditional, "--count", 1, "--seed", 0, "--label"]
    assert glow(*options, "kind d", "--output", "named").code == 0
    assert json.loads(Path("named/run.json").read_text())["label"] == 3
    message = refused(*options, "Kind", "--output", "unnamed")
    assert message.startswith("error: there is no class Kind; expected 0 to 9, or one of Kind A, ")
    assert message.endswith("Kind J; did you mean Kind A?")
    assert not Path("unnamed").exists()
    facts = dict(line.split(maxsplit=1) for line in glow("info", conditional).output.splitlines())
    assert facts["classes"].startswith("Kind A, Kind B, ")


def test_says_which_class_it_is_whose_number_names_another(tmp_path: Path, glow: Glow) -> None:
    model = tiny_model(num_bits=4, image_shape=(1, 8, 8), num_classes=3)
    model.class_names = ["1", "2", "3"]
    save_pretrained(model, tmp_path / "model")
    said = "--label 1 is the number of the class named 2; the class named 1 has number 0\n"
    for label in range(4):
        result = glow("sample", "--checkpoint", "model", "--count", 1, "--label", label, "--output", f"label{label}")
        assert (said in result.output) == (label == 1), result
        assert ("is the number of" in result.output) == (label in (1, 2))


def test_labels_that_do_not_fit(trained: Path, conditional: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "class-conditional" in refused("sample", "--checkpoint", trained, "--label", 3)
    assert "0 to 9" in refused("sample", "--checkpoint", conditional, "--label", 10)
    assert "0 to 9" in refused("sample", "--checkpoint", conditional, "--label", -1)
    assert list(tmp_path.rglob("*.png")) == []


def fail_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the disk be full in the middle of the picture of that number."""
    save = Image.Image.save
    count = 0

    def half(self: Image.Image, file: Any, *args: Any, **options: Any) -> None:
        nonlocal count
        count += 1
        if count == number:
            file.write(b"\x89PNG half of a picture")
            raise OSError(28, "No space left on device")
        save(self, file, *args, **options)

    monkeypatch.setattr(Image.Image, "save", half)


@pytest.mark.parametrize("number", [1, 3, 5])
def test_a_full_disk_leaves_whole_pictures_only(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str], number: int
) -> None:
    fail_at(monkeypatch, number)
    message = refused("sample", "--checkpoint", trained, "--count", 4, "--seed", 7)
    assert "No space left" in message
    names = [f"seed{seed:06d}_t0.70.png" for seed in (7, 8, 9, 10)]
    written = contents(tmp_path / "samples")
    assert sorted(written.keys() - {"run.json"}) == names[: number - 1]
    if number > 1:
        record = json.loads(written["run.json"])
        assert (record["count"], record["asked"]) == (number - 1, 4)
        assert [file["file"] for file in record["files"]] == names[: number - 1]
    for name in names[: number - 1]:
        assert pixels(tmp_path / "samples" / name).shape == (8, 8)


def test_a_full_disk_spares_what_would_be_overwritten(
    sampled: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    before = contents(sampled)
    fail_at(monkeypatch, 1)
    refused("sample", "--checkpoint", trained, "--count", 4, "--seed", 7, "--output", sampled, "--overwrite")
    assert contents(sampled) == before


def test_another_size_for_textures(trained: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 3, "--seed", 1, "--size", "16x24", "--temperature", 0.7)
    assert result.code == 0, result
    pictures = [pixels(path) for path in sorted(Path("samples").glob("seed*.png"))]
    assert [picture.shape for picture in pictures] == [(24, 16)] * 3


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--size", "16"], 2, "16 is not a size; expected WIDTHxHEIGHT in pixels, such as 256x128"),
        (["--size", "0x8"], 2, "0x8 is not a size"),
        (["--size", "10x8"], 1, "height is 8 and width is 10; expected multiples of"),
        (["--size", "16x16", "--sweep", 1], 2, "leave --size out"),
        (["--guidance", 1.25], 1, "guidance is 1.25, and the model has no classes"),
        (["--count", 10**12], 2, "lower --seed or --count"),
        (["--count", 10, "--seed", 2**31 - 5], 2, "lower --seed or --count"),
        *((["--count", count], 2, "count") for count in (0, "many")),
        *((["--seed", seed], 2, "is not a seed") for seed in (-1, 2**31)),
        (["--batch-size", 0], 2, "batch-size"),
        (["--device", "abacus"], 1, "abacus"),
        (["--label", "three"], 1, "class-conditional"),
        *(([f"--temperature={t}"], 2, "is not a temperature") for t in ("nan", -1, -0.5, "inf", "-inf", "warm")),
    ],
)
def test_an_option_that_does_not_fit_is_refused(
    options: list[object], code: int, message: str, trained: Path, refused: Callable[..., str]
) -> None:
    assert message in refused("sample", "--checkpoint", trained, *options, code=code)
    assert not list(Path().iterdir())
