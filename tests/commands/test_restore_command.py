"""`glow restore`, and the way to a model for it."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from registry import random_images, small_restorer
from run_files import pixels

from glow_app.commands import restore as restore_command
from glow_app.commands.restore_folder import RestoreFolder
from glow_app.models.image_model import ImageModel
from glow_app.seeding import image_generator
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model
from glow_app.tasks import Denoise

Glow = Callable[..., Any]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    array = random_images(1, (3, 9, 14))[0].permute(1, 2, 0).numpy() // 2 + 64
    Image.fromarray(array).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_draws_mean_spread_and_comparison(models: Path, photo: Path, glow: Glow) -> None:
    result = glow("restore", photo, "--checkpoint", models / "upscale", "--count", 2, "--seed", 7)
    assert result.code == 0, result
    assert "1 picture, 2 draws each, with mean and spread, in restored" in result.output
    draws = [pixels(Path(f"restored/photo_seed{seed}.png")) for seed in (7, 8)]
    assert all(draw.shape == (18, 28, 3) for draw in draws)
    mean = np.mean([draw.astype(float) for draw in draws], axis=0)
    assert np.abs(pixels(Path("restored/photo_mean.png")) - mean).max() <= 0.5
    assert pixels(Path("restored/photo_spread.png")).shape == (18, 28)
    assert pixels(Path("restored/photo_comparison.png")).shape == (18, 5 * 28, 3)
    record = json.loads(Path("restored/run.json").read_text())
    assert record["files"][0]["size"] == [28, 18]
    assert record["files"][0]["seed"] == 7
    for name, text in (("seed8", {"seed": "8"}), ("mean", {"seed": "7", "count": "2"})):
        with Image.open(f"restored/photo_{name}.png") as picture:
            made = {"model": record["model"], "version": record["version"]}
            assert picture.text.items() >= (text | made).items()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("task", "sides"), [("upscale", (8, 14)), ("fill", (9, 14)), ("denoise", (9, 14))])
def test_undamaged_pictures_are_damaged_first(
    models: Path, photo: Path, glow: Glow, task: str, sides: tuple[int, int]
) -> None:
    result = glow("restore", photo, "--checkpoint", models / task, "--damage", "--count", 6)
    assert result.code == 0, result
    height, width = sides  # cropped until it can be halved
    assert pixels(Path("restored/photo_seed0.png")).shape == (height, width, 3)
    row = pixels(Path("restored/photo_comparison.png"))
    assert row.shape == (height, 8 * width, 3)  # what was damaged, four draws, mean, spread, and the original
    assert np.array_equal(row[:, -width:], pixels(photo)[:height])
    assert not np.array_equal(row[:, :width], row[:, -width:])


def test_what_is_damaged_may_be_large_but_not_tiny(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (1, 9)).save("thin.png")
    result = glow("restore", "thin.png", "--checkpoint", models / "upscale", "--damage")
    assert "it is 1x9; expected at least 2x2, to be reduced 2 times" in " ".join(result.errors)
    monkeypatch.setattr(import_module("glow_app.generation.restore"), "_MOST_PIXELS", 14 * 9)
    assert glow("restore", photo, "--checkpoint", models / "upscale", "--damage").code == 0
    assert glow("restore", photo, "--checkpoint", models / "upscale", "--output", "large").code == 1


def test_a_folder_with_a_broken_file(models: Path, photo: Path, glow: Glow) -> None:
    (photo.parent / "broken.png").write_bytes(b"x")
    result = glow("restore", photo.parent, "--checkpoint", models / "denoise", "--count", 1, "--output", "out")
    assert result.code == 0, result
    assert "skipped: " in result.output
    assert "1 picture, 1 draw each" in result.output
    assert json.loads(Path("out/run.json").read_text())["files"][0]["sigma"] > 1


def test_what_a_mask_leaves_is_kept(models: Path, photo: Path, glow: Glow, tmp_path: Path) -> None:
    mask = np.zeros((9, 14), np.uint8)
    mask[2:5, 3:9] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = glow("restore", photo, "--checkpoint", models / "fill", "--mask", "mask.png", "--count", 1)
    assert result.code == 0, result
    assert np.array_equal(pixels(Path("restored/photo_seed0.png"))[mask == 0], pixels(photo)[mask == 0])


def test_a_coloured_picture_keeps_its_grey_values_and_its_place(models: Path, tmp_path: Path, glow: Glow) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = Image.fromarray(random_images(1, (1, 10, 16))[0, 0].numpy())
    grey.save(tmp_path / "lying.png", exif=exif)
    assert glow("restore", "lying.png", "--checkpoint", models / "colourise", "--count", 1).code == 0
    with Image.open("restored/lying_seed0.png") as coloured:
        assert coloured.mode == "RGB"
        assert np.array_equal(np.asarray(coloured.convert("L")), np.asarray(grey.transpose(Image.Transpose.ROTATE_270)))


def test_a_colour_profile_is_kept(models: Path, photo: Path, glow: Glow) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(photo) as picture:
        picture.save(photo, icc_profile=profile)
    assert glow("restore", photo, "--checkpoint", models / "upscale", "--count", 1).code == 0
    with Image.open("restored/photo_seed0.png") as restored:
        assert restored.info["icc_profile"] == profile
    with Image.open("restored/photo_spread.png") as spread:
        assert "icc_profile" not in spread.info, "it is one for colours"
    result = glow("restore", photo, "--checkpoint", models / "colourise", "--count", 1, "--output", "coloured")
    assert f"{photo}: colours made grey, colour profile left out" in result.output


@pytest.mark.parametrize(
    ("task", "options", "code", "message"),
    [
        ("upscale", ["--mask", "photo.png"], 2, "--mask is not for this model, which has the task Upscale"),
        ("upscale", ["--sigma", 5], 2, "--sigma is not for this model, which has the task Upscale"),
        ("fill", [], 2, "give --mask MASK.png"),
        ("denoise", ["--sigma", 5, "--damage"], 2, "--sigma says how a picture is damaged"),
        ("fill", ["--mask", "nothing.png"], 1, "there is no file nothing.png"),
        ("fill", ["--mask", "black.png"], 1, "mask: it is black everywhere"),
        ("fill", ["--mask", "white.png"], 1, "mask: it is white everywhere"),
        ("fill", ["--mask", "small.png"], 1, "mask: it is 3x3; expected 14x9, the size of the picture"),
        ("upscale", ["nothing.png"], 1, "skipped: there is no file nothing.png"),
        ("upscale", ["deep.png"], 1, "it has more than 8 bits per value; expected 8"),
        ("upscale", ["other/photo.png"], 2, "two pictures are called photo.png"),
        ("upscale", ["photo.png"], 2, "photo.png is given twice; give it once"),
        ("upscale", ["--temperature", -1], 2, "-1 is not a temperature; expected a number from 0 to 100"),
        ("upscale", ["--temperature", "nan"], 2, "nan is not a temperature; expected a number from 0 to 100"),
        ("upscale", ["--seed", -1], 2, "-1 is not a seed"),
        ("upscale", ["--seed", 2**31], 2, "2147483648 is not a seed; expected 0 to 2147483647"),
        ("upscale", ["--count", 10_001], 2, "10001 must be a whole number from 1 to 10,000"),
        ("denoise", ["--sigma", "nan"], 2, "nan must be a number of grey levels from 1 to 255"),
        ("denoise", ["--sigma", -4], 2, "-4 must be a number of grey levels from 1 to 255"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    task: str, options: list[Any], code: int, message: str, models: Path, photo: Path, glow: Glow
) -> None:
    Image.new("L", (14, 9)).save("black.png")
    Image.new("L", (3, 3), 255).save("small.png")
    Image.new("L", (14, 9), 255).save("white.png")
    Image.fromarray(np.zeros((9, 14), np.uint16)).save("deep.png")
    result = glow("restore", photo, *options, "--checkpoint", models / task, "--count", 1)
    skipped = "nothing.png" in options[:1] or "deep.png" in options[:1]
    assert result.code == (0 if skipped else code), result
    assert message in (result.output if skipped else " ".join(result.errors))
    assert skipped or not Path("restored").exists()


def test_a_folder_keeps_its_subfolders_and_suffixes_tell_namesakes_apart(
    models: Path, photo: Path, glow: Glow, tmp_path: Path
) -> None:
    for name in ("in/a/p.png", "in/b/p.png", "in/p.png", "in/p.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photo).save(tmp_path / name)
    result = glow("restore", "in", "--checkpoint", models / "denoise", "--count", 1, "--output", "out")
    assert result.code == 0, result
    means = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*_mean.png"))
    assert means == ["a/p_mean.png", "b/p_mean.png", "p.bmp_mean.png", "p.png_mean.png"]
    assert f"side by side: out{os.sep}a{os.sep}p_comparison.png" in result.output


def test_another_run_goes_to_the_next_free_folder(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open(photo).save("other.png")
    arguments = ["--checkpoint", models / "denoise", "--count", 1, "--output"]
    assert glow("restore", photo, *arguments, "out").code == 0
    record = Path("out/run.json").read_bytes()
    result = glow("restore", "other.png", *arguments, "out")
    assert "out holds results already; these go to out-2 (--overwrite replaces)" in result.output
    assert Path("out/run.json").read_bytes() == record
    assert not list(Path("out").glob("other*"))
    assert json.loads(Path("out-2/run.json").read_text())["files"][0]["name"] == "other"
    assert glow("restore", "other.png", *arguments, "out", "--overwrite").code == 0
    assert Path("out/run.json").read_bytes() != record
    other = Path("other.png").resolve()
    monkeypatch.chdir("out")
    assert glow("restore", other, *arguments, ".").code == 0
    assert Path("../out-3/other_seed0.png").exists()


def test_no_existing_file_is_replaced(models: Path, photo: Path, glow: Glow) -> None:
    own = photo.with_name("photo_seed1.png")
    own.write_bytes(b"mine")
    arguments = ["restore", photo, "--checkpoint", models / "denoise", "--count", 2, "--output", photo.parent]
    assert "photo_seed1.png exists already" in " ".join(glow(*arguments).errors)
    assert own.read_bytes() == b"mine"
    assert glow(*arguments, "--overwrite").code == 0


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["glow_app.generation.restore"], "_MOST_PIXELS", 100)
    photo.write_bytes(photo.read_bytes()[:60])  # little more than the header
    result = glow("restore", photo, "--checkpoint", models / "upscale")
    assert "restored, it would have 28x18 pixels; expected at most" in " ".join(result.errors)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "p")])
def test_what_was_complete_at_an_interruption_is_recorded(
    error: BaseException, models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glow_app.pictures import images

    for name in ("photo2.png", "photo3.png"):
        Image.open(photo).save(photo.with_name(name))
    save = images.save_png

    def save_some(image: Image.Image, path: Path, facts: dict[str, Any]) -> None:
        if path.name.startswith("photo2_mean"):
            raise error
        save(image, path, facts)

    monkeypatch.setattr(images, "save_png", save_some)
    arguments = ["restore", photo.parent, "--checkpoint", models / "denoise", "--count", 1, "--output", "out"]
    result = glow(*arguments)
    assert result.code == (1 if isinstance(error, OSError) else 130)
    record = json.loads(Path("out/run.json").read_text())
    assert [Path(file["file"]).name for file in record["files"]] == ["photo.png"]
    assert not list(Path("out").glob("photo3*"))


def test_after_an_interruption_in_the_first_picture_the_next_run_takes_another_folder(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glow_app.pictures import images

    save = images.save_png

    def save_some(image: Image.Image, path: Path, facts: dict[str, Any]) -> None:
        if path.name == "photo_mean.png":
            raise KeyboardInterrupt
        save(image, path, facts)

    arguments = ["restore", photo, "--checkpoint", models / "denoise", "--count", 1]
    with monkeypatch.context() as patch:
        patch.setattr(images, "save_png", save_some)
        assert glow(*arguments).code == 130
    assert json.loads(Path("restored/run.json").read_text())["files"] == []
    result = glow(*arguments)
    assert result.code == 0, result
    assert "restored holds results already; these go to restored-2" in result.output


def test_two_runs_at_once_take_two_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.chdir(tmp_path)
    arguments = argparse.Namespace(output="out", overwrite=False, seed=0, count=1, mask=None)
    folders = [RestoreFolder(arguments, {"photo": "photo.png"}, {"model": "m"}) for _ in range(2)]
    assert [folder.path for folder in folders] == [Path("out"), Path("out-2")]
    assert "these go to out-2" in capsys.readouterr().out
    folders[1].close()
    assert sorted(os.listdir()) == ["out"], "nothing is left of a run that has written nothing"
    Path("link").mkdir()
    Path("link/run.json").symlink_to("nothing")
    arguments.output = "link"
    assert RestoreFolder(arguments, {"photo": "photo.png"}, {"model": "m"}).path == Path("link-2")
    arguments.overwrite = True
    assert RestoreFolder(arguments, {"photo": "photo.png"}, {"model": "m"}).path == Path("link")
    assert not Path("link/nothing").exists(), "a record that is a link is not followed"


def test_what_is_complete_is_recorded_before_the_next_picture(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(photo, photo.with_name("second.png"))
    listed = []

    def restored(*arguments: Any) -> Any:
        listed.append([entry["name"] for entry in json.loads(Path("restored/run.json").read_text())["files"]])
        return restore_file(*arguments)

    restore_file = restore_command._restore_file
    monkeypatch.setattr(restore_command, "_restore_file", restored)
    assert glow("restore", photo.parent, "--checkpoint", models / "denoise", "--count", 1).code == 0
    assert listed == [[], ["photo"]]


def test_results_of_an_interrupted_picture_are_no_pictures(models: Path, photo: Path, glow: Glow) -> None:
    arguments = ["restore", photo.parent, "--checkpoint", models / "denoise", "--output", photo.parent, "--count", 1]
    Path(photo.parent, "run.json").touch()  # as an interruption in the first picture leaves it
    shutil.copy(photo, photo.with_name("photo_seed0.png"))
    result = glow(*arguments, "--overwrite")
    assert (result.code, result.errors) == (0, []), result
    assert "1 picture, 1 draw each" in result.output


def test_a_record_of_results_outlasts_a_run_that_fails(models: Path, photo: Path, glow: Glow) -> None:
    arguments = ["--output", "out", "--count", 1]
    assert glow("restore", photo, "--checkpoint", models / "denoise", *arguments).code == 0
    before = Path("out/run.json").read_bytes()
    Path("broken.png").write_text("no picture")
    assert (
        glow("restore", "broken.png", "--checkpoint", models / "fill", "--damage", *arguments, "--overwrite").code == 1
    )
    assert Path("out/run.json").read_bytes() == before


def test_overwriting_replaces_a_picture_as_a_whole_and_leaves_others(models: Path, photo: Path, glow: Glow) -> None:
    shutil.copy(photo, photo.with_name("second.png"))
    arguments = ["--checkpoint", models / "denoise", "--output", "out"]
    assert glow("restore", photo.parent, *arguments, "--count", 3).code == 0
    Path("out/photo_seed8_mine.png").touch()
    assert glow("restore", photo, *arguments, "--count", 1, "--seed", 5, "--overwrite").code == 0
    draws = {name: sorted(file.name for file in Path("out").glob(f"{name}_seed*")) for name in ("photo", "second")}
    assert draws["photo"] == ["photo_seed5.png", "photo_seed8_mine.png"]
    assert draws["second"] == [f"second_seed{seed}.png" for seed in range(3)]
    entries = {entry["name"]: entry for entry in json.loads(Path("out/run.json").read_text())["files"]}
    assert (entries["photo"]["seed"], entries["photo"]["count"]) == (5, 1)
    assert (entries["second"]["seed"], entries["second"]["count"]) == (0, 3)


def test_given_pictures_are_never_replaced(models: Path, photo: Path, glow: Glow) -> None:
    mean = photo.with_name("photo_mean.png")
    shutil.copy(photo, mean)
    before = mean.read_bytes()
    arguments = ["--checkpoint", models / "fill", "--output", photo.parent, "--overwrite", "--count", 1]
    for given in ([photo, mean, "--damage"], [photo, "--mask", mean]):
        result = glow("restore", *given, *arguments)
        assert result.code == 2
        assert f"a result would replace {mean}, which is given" in " ".join(result.errors)
    assert mean.read_bytes() == before


def test_a_folder_that_is_its_own_output_keeps_its_pictures_apart(models: Path, photo: Path, glow: Glow) -> None:
    arguments = ["--checkpoint", models / "denoise", "--output", photo.parent, "--count", 1]
    for more in ([], [], ["--overwrite"]):
        result = glow("restore", photo.parent, *arguments, *more)
        assert "1 picture, 1 draw each" in result.output, result
    assert f"left out: 4 results in {photo.parent} (run.json); name the files to restore them" in result.output
    photo.unlink()
    assert "only results of earlier runs" in " ".join(glow("restore", photo.parent, *arguments, "--overwrite").errors)
    assert "4 pictures, 1 draw each" in glow("restore", photo.parent, *arguments).output


def test_the_mask_is_no_picture_to_restore(models: Path, photo: Path, glow: Glow) -> None:
    mask = photo.with_name("mask.png")
    Image.fromarray(np.pad(np.full((3, 3), 255, np.uint8), ((0, 6), (0, 11)))).save(mask)
    result = glow("restore", photo.parent, "--checkpoint", models / "fill", "--mask", mask, "--count", 1)
    assert "1 picture, 1 draw each" in result.output, result


def test_says_what_is_lost_of_a_picture(models: Path, photo: Path, glow: Glow) -> None:
    transparent = Image.open(photo).convert("RGBA")
    transparent.putpixel((0, 0), (0, 0, 0, 0))
    transparent.save("transparent.png")
    Image.open(photo).convert("RGBA").save("opaque.png")
    for name, note in {"transparent.png": "transparent.png: transparency made white", "opaque.png": "made"}.items():
        result = glow("restore", name, "--checkpoint", models / "denoise", "--count", 1)
        assert (note in result.output) == (name == "transparent.png"), result
    result = glow("restore", photo, "--checkpoint", models / "colourise", "--count", 1)
    assert f"{photo}: colours made grey" in result.output


@pytest.mark.parametrize("options", [["--sigma", 4], ["--sigma", 5], ["--damage"], []])
def test_says_when_the_model_was_not_trained_for_the_noise(
    models: Path, photo: Path, glow: Glow, options: list[Any]
) -> None:
    Image.new("RGB", (9, 9)).save(photo)  # without noise
    result = glow("restore", photo, "--checkpoint", models / "denoise", "--count", 1, *options)
    level = {(): 1, ("--sigma", 4): 4}.get(tuple(options))
    note = f"{photo}: noise of sigma {level}; the model was trained for 5 to 50 grey levels\n"
    assert (note in result.output) == ("was trained for" in result.output) == (level is not None), result


def test_a_name_too_long_for_results_is_skipped(models: Path, photo: Path, glow: Glow) -> None:
    shutil.copy(photo, photo.with_name("a" * 245 + ".png"))
    for more in ([], ["--overwrite"]):
        result = glow("restore", photo.parent, "--checkpoint", models / "denoise", "--count", 1, *more)
        assert "its name is too long for the names of results" in result.output, result
        assert "1 picture, 1 draw each" in result.output


@pytest.mark.parametrize(("length", "seed"), [(245, 0), (240, 1_000_000)])
def test_a_name_too_long_for_results_is_refused_alone(
    models: Path, photo: Path, glow: Glow, length: int, seed: int
) -> None:
    file = photo.rename(photo.with_name("a" * length + ".png"))
    result = glow("restore", file, "--checkpoint", models / "denoise", "--count", 1, "--seed", seed)
    assert result.code == 1
    assert result.errors == [f"error: {file}: its name is too long for the names of results; rename it"]
    assert not Path("restored").exists()


def test_results_of_another_command_are_kept(models: Path, photo: Path, glow: Glow) -> None:
    Path("out").mkdir()
    record = '{"model": "m", "version": "1", "pictures": [], "files": []}'
    Path("out/run.json").write_text(record)
    result = glow("restore", photo, "--checkpoint", models / "denoise", "--output", "out", "--overwrite")
    assert "out holds results of another command" in " ".join(result.errors)
    assert Path("out/run.json").read_text() == record


@pytest.mark.parametrize("record", ["", "[1]", '{"files": 3}', '{"files": [1, {"name": 2}]}', "[" * 100_000])
def test_a_damaged_record_is_overwritten(models: Path, photo: Path, glow: Glow, record: str) -> None:
    Path("out").mkdir()
    Path("out/run.json").write_text(record)
    arguments = ["--checkpoint", models / "denoise", "--output", "out", "--overwrite", "--count", 1]
    assert glow("restore", photo, *arguments).code == 0
    assert [entry["name"] for entry in json.loads(Path("out/run.json").read_text())["files"]] == ["photo"]


def test_results_inside_a_folder_are_left_out(models: Path, photo: Path, glow: Glow) -> None:
    os.chdir(photo.parent)
    arguments = ["restore", ".", "--checkpoint", models / "denoise", "--count", 1]
    assert glow(*arguments).code == 0
    result = glow(*arguments)
    assert "left out: restored, which holds results (run.json)" in result.output
    assert "1 picture, 1 draw each" in result.output
    result = glow("restore", "restored", *arguments[2:])
    assert "4 pictures, 1 draw each" in result.output


def test_noise_to_remove_is_not_that_of_a_draw(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = []

    def damage(self: Denoise, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise.append(torch.randn(images.shape, generator=generator))
        return self.prepare(images[0], None, 25.0)[None]

    monkeypatch.setattr(Denoise, "damage", damage)
    assert glow("restore", photo, "--checkpoint", models / "denoise", "--damage", "--seed", 3).code == 0
    draws = [torch.randn(noise[0].shape, generator=image_generator(seed)) for seed in range(3, 7)]
    assert not any(torch.isin(noise[0], draw).any() for draw in draws)


def test_a_run_whose_flow_is_not_trained_is_refused_at_once(
    models: Path, tmp_path: Path, photo: Path, glow: Glow
) -> None:
    model = small_restorer(Denoise(), random_images(16))
    assert model.flow.encoder is not None
    model.flow.encoder.trained.fill_(False)
    save_pretrained(model, tmp_path / "short")
    for command in (["restore", photo], ["evaluate"]):
        result = glow(*command, "--checkpoint", tmp_path / "short")
        assert result.code == 1
        assert result.errors == [
            "error: the flow of this model is not trained yet: its run ended before; go on with glow fit --resume"
        ], result


def test_large_pictures_are_small_side_by_side(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glow_app.commands.restore.LARGEST_COMPARED", 14 * 9)
    assert glow("restore", photo, "--checkpoint", models / "upscale", "--count", 1).code == 0
    assert pixels(Path("restored/photo_comparison.png")).shape == (9, 4 * 14, 3)


def test_other_commands_say_what_to_use(models: Path, photo: Path, glow: Glow) -> None:
    for command in (["sample"], ["score", photo], ["reconstruct", photo]):
        result = glow(*command, "--checkpoint", models / "upscale")
        assert result.code == 1
        assert "restores damaged pictures (Upscale); use glow restore" in " ".join(result.errors)
    result = glow("restore", photo)
    assert result.code == 2
    assert "needs --checkpoint: for photographs photos-upscale2, photos-denoise, photos-deblock" in " ".join(
        result.errors
    )
    result = glow("restore", photo, "--checkpoint", "faces")
    assert result.code == 1
    assert "faces restores nothing; train a model with, for example, --config restore/upscale2" in " ".join(
        result.errors
    )


def test_a_folder_without_an_option_is_not_resized_for_a_restorer(photo: Path, glow: Glow) -> None:
    result = glow("fit", photo.parent, "--config", "restore/upscale2", "--epochs", 1)
    assert result.code == 2
    assert f"use glow fit --config restore/upscale2 --data.root {photo.parent}" in " ".join(result.errors)


def test_from_photographs_to_a_model_that_restores(tmp_path: Path, photo: Path, glow: Glow) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, image in enumerate(random_images(12, (3, 40, 48))):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number}.png")
    tiny = ["--model.flow.num_steps=1", "--model.flow.hidden_channels=4", "--data.limit=40", "--trainer.max_epochs=1"]
    tiny += ["--trainer.accelerator=cpu", "--data.batch_size=10", "--data.cache_dir=cache"]
    fit = ["fit", "--config", "restore/upscale2", "--data.root", folder, *tiny]
    result = glow(*fit, "--run_dir=run")
    assert result.code == 0, result
    assert ", 3 steps, the first 2 steps for the encoder, 32-true on cpu\n" in result.output
    assert "next: glow restore PICTURE --checkpoint run\n" in result.output
    assert list(Path("run/samples").glob("epoch00001_t*.png"))
    model = load_model("run")
    assert isinstance(model, ImageModel)
    assert model.task is not None
    assert model.task.config == {"factor": 2}
    assert glow("restore", photo, "--checkpoint", "run").code == 0
    result = glow("validate", "--checkpoint", "run")
    assert result.code == 0, result
    assert "given the images damaged by Upscale)" in result.output
    assert re.search(
        r"^\d+\.\d\d dB +PSNR of draws at temperature 0, of all pixels \(glow evaluate: as restored\)$",
        result.output,
        re.MULTILINE,
    )
    result = glow(*fit, "--trainer.max_steps=1", "--run_dir=short")
    assert "next: glow fit --resume short --trainer.max_steps STEPS (its flow is not trained yet)" in result.output
    result = glow("validate", "--checkpoint", "short")
    assert "damaged by Upscale, of a Gaussian around the encoder's estimate: the flow is not" in result.output
    result = glow("fit", "--resume", "run", "--trainer.max_epochs=2", "--run_dir=run")
    assert result.code == 0, result
    result = glow(*fit, "--config", "prior/maf", "--model.flow.image_shape=[3,8,16]", "--run_dir=maf")
    assert result.code == 0, result
    assert "next: glow restore PICTURE --checkpoint maf (pictures of 8x4; models with a Gaussian" in result.output
    Image.open(photo).resize((8, 4)).save("small.png")
    assert glow("restore", "small.png", "--checkpoint", "maf", "--count", 1).code == 0
