"""`glow sample`, and what `glow info` and `glow export` make of it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from registry import tiny_model

from glow_app import __version__
from glow_app.checkpoint import load_model
from glow_app.generation import sweep
from glow_app.images import grid, read_png_text
from glow_app.pretrained import model_hash, save_pretrained

Glow = Callable[..., Any]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


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
        "files": names,
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
    assert "expected a finite number" in refused("sample", *options, "0.7,-1", code=2)


def test_a_sweep_shows_the_same_noise_at_several_temperatures(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 3, "--seed", 1, "--sweep", "0,0.7,1")
    assert result.output.splitlines()[-1] == f"sweep: {Path('samples/sweep.png')}"
    rows = sweep(load_model(trained), [0.0, 0.7, 1.0], [1, 2, 3])
    assert np.array_equal(pixels(tmp_path / "samples/sweep.png"), np.asarray(grid(rows.flatten(0, 1), columns=3)))
    assert torch.equal(rows[0, 0], rows[0, 1])
    assert not torch.equal(rows[1, 0], rows[1, 1])
    assert torch.equal(rows[1], load_model(trained).sample(3, 0.7, 1))


def test_a_walk_comes_by_the_samples_and_back(trained: Path, tmp_path: Path, glow: Glow) -> None:
    result = glow("sample", "--checkpoint", trained, "--count", 3, "--seed", 1, "--walk", 3)
    assert result.code == 0, result
    with Image.open(tmp_path / "samples/walk.gif") as picture:
        assert picture.n_frames == 36  # type: ignore[attr-defined]
        for number, seed in ((0, 1), (12, 2), (24, 3)):
            picture.seek(number)
            frame = np.asarray(picture.convert("L"))[::30, ::30]
            assert np.array_equal(frame, pixels(tmp_path / f"samples/seed{seed:06d}_t0.70.png"))


def test_a_walk_stays_in_one_class(conditional: Path, tmp_path: Path, glow: Glow, refused: Callable[..., str]) -> None:
    options = ["sample", "--checkpoint", conditional, "--count", 1, "--walk", 2, "--seed", 1]
    assert "a walk stays in one class; found 2" in refused(*options, "--label", 1, 2)
    assert glow(*options, "--overwrite").code == 0
    first = (tmp_path / "samples/walk.gif").read_bytes()
    assert glow(*options, "--label", 1, "--overwrite").code == 0  # the class whose turn it is with seed 1
    assert (tmp_path / "samples/walk.gif").read_bytes() == first
    assert "of 1 stops" in refused(*options[:-3], 1, "--label", 1, "--overwrite")


@pytest.mark.parametrize(("count", "columns"), [(1, 2), (9, 4), (16, 4), (30, 6)])
def test_a_grid_has_whole_turns_of_the_classes_in_a_row(tmp_path: Path, glow: Glow, count: int, columns: int) -> None:
    save_pretrained(tiny_model(image_shape=(1, 8, 8), num_classes=2), tmp_path / "model")
    assert glow("sample", "--checkpoint", tmp_path / "model", "--count", count, "--seed", 1).code == 0
    files = sorted((tmp_path / "samples").glob("seed*"))
    images = torch.stack([torch.from_numpy(pixels(path).copy())[None] for path in files])
    assert np.array_equal(pixels(tmp_path / "samples/grid.png"), np.asarray(grid(images, columns)))


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
    assert "--overwrite" in refused("sample", *options, "--seed", 10, "--count", 1)
    assert "and 2 more exist already" in refused("sample", *options, "--seed", 10, "--count", 1)
    # Neither where only the grid would be replaced.
    assert "grid.png" in refused("sample", *options, "--seed", 100)
    assert contents(sampled) == before
    assert glow("sample", *options, "--seed", 10, "--count", 1, "--temperature", 1, "--overwrite").code == 0
    after = contents(sampled)
    assert json.loads(after["run.json"])["seed"] == 10
    assert after["seed000010_t0.70.png"] == before["seed000010_t0.70.png"]
    assert "seed000010_t1.00.png" in after


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
    assert sorted(contents(tmp_path / "samples")) == names[: number - 1]
    for name in names[: number - 1]:
        assert pixels(tmp_path / "samples" / name).shape == (8, 8)


def test_a_full_disk_spares_what_would_be_overwritten(
    sampled: Path, trained: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    before = contents(sampled)
    fail_at(monkeypatch, 1)
    refused("sample", "--checkpoint", trained, "--count", 4, "--seed", 7, "--output", sampled, "--overwrite")
    assert contents(sampled) == before


def test_more_images_than_seeds_are_refused_at_once(trained: Path, tmp_path: Path, glow: Callable[..., Any]) -> None:
    for options in (["--count", 10**12], ["--count", 10, "--seed", 2**31 - 5]):
        result = glow("sample", "--checkpoint", trained, *options, "--output", tmp_path / "out")
        assert result.code == 2
        assert "--seed plus --count" in result.errors[0]
        assert not (tmp_path / "out").exists()
