"""`glow restore`, and training a model for it."""

import json
import os
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image, JpegImagePlugin
from PIL.ExifTags import Base
from registry import random_images, tiny_restorer, tiny_wavelet_flow
from run_files import pixels

from glow_app.models.image_model import ImageModel
from glow_app.pictures.image_batch import Images
from glow_app.pictures.panels import SHEET_SIDE
from glow_app.pictures.picture_file import PictureFile
from glow_app.restoration import Clean, RestorationTask, picture_conditioning_of, require_task, restore
from glow_app.restoration.damage import noisy
from glow_app.seeding import image_generator
from glow_app.spec import register, spec_of
from glow_app.storage.model_folders import CLEANER, ENLARGER, bundled_restorers
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model

Glow = Callable[..., Any]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    array = random_images(1, (3, 9, 14))[0].permute(1, 2, 0).numpy() // 2 + 64
    Image.fromarray(array).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def files_of(folder: str) -> list[dict[str, Any]]:
    return json.loads(Path(folder, "run.json").read_text())["files"]


def sheet_cell(name: str, height: int, width: int) -> np.ndarray:
    """Return the last picture of a sheet, at its own size."""
    factor = -(-SHEET_SIDE // width)
    return pixels(Path(name))[-1 - factor * height : -1 : factor, -1 - factor * width : -1 : factor]


@pytest.mark.slow
def test_photographs_are_cleaned_and_enlarged(tmp_path: Path, glow: Glow) -> None:
    assert {CLEANER, ENLARGER} == {*bundled_restorers("photos")}
    ramp = np.add.outer(np.arange(96), np.arange(112))[..., None].repeat(3, 2).astype(np.uint8) // 2 + 60
    Image.fromarray(ramp).save("clean.png")
    Image.fromarray(noisy(ramp, 15, np.random.default_rng(0))).save("noisy.png")
    Image.fromarray(ramp).save("saved.jpg", quality=5)
    result = glow("restore", tmp_path, "--output", "out")
    assert result.code == 0, result
    assert "model: photos-clean" in result.output
    assert re.findall(r"(\w+)\.\w+: .*\(it is clean", result.output) == ["clean"], result.output
    assert np.array_equal(pixels(Path("out/clean_restored.png")), ramp)
    before, cleaned = (pixels(Path(name)).astype(float) for name in ("noisy.png", "out/noisy_restored.png"))
    assert np.abs(cleaned - ramp).mean() < np.abs(before - ramp).mean() / 4
    assert sorted(os.listdir("out")) == ["clean_restored.png", "noisy_restored.png", "run.json", "saved_restored.jpg"]
    assert glow("restore", "noisy.png", "--enlarge", 2, "--output", "both").code == 0
    chained = glow("restore", "out/noisy_restored.png", "--enlarge", 2, "--no-clean", "--output", "steps")
    assert chained.code == 0
    assert "model: photos-clean" not in chained.output
    at_once, in_steps = (pixels(Path(folder, "noisy_restored.png")) for folder in ("both", "steps"))
    assert np.array_equal(at_once, in_steps)


def test_what_was_decided_is_said(photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch) -> None:
    for least_change, options, decision in (
        (0.0, [], None),
        (1e-9, [], "cleaned throughout"),
        (1e3, [], "it is clean, and so it was not changed"),
        (1e3, ["--strip"], "it is clean, and so it was only saved anew"),
        (1e3, ["--format", "webp"], "it is clean, and so it was only saved anew"),
        (1e3, ["--enlarge", 2], "it is clean, and so it was only enlarged 2 times"),
        (1e-9, ["--enlarge", 4], "cleaned throughout, then enlarged 4 times"),
    ):
        monkeypatch.setattr(Clean, "least_change", least_change)
        result = glow("restore", photo, *options, "--output", "out", "--overwrite")
        assert re.findall(r"_restored\.\w+(?: \((.*?)[;)])?", result.output) == [decision or ""], result


def test_draws_of_four_times_the_size_go_through_both_steps(photo: Path, glow: Glow) -> None:
    assert glow("restore", photo, "--enlarge", 4, "--no-clean", "--count", 2, "--seed", 5, "--output", "out").code == 0
    model = load_model(ENLARGER)
    image = restore(model, restore(model, photo, 1, seeds=6).draws[0], 1, seeds=6).draws[0]
    assert image.shape == (3, 36, 56)
    assert np.array_equal(pixels(Path("out/photo_seed6.png")), image.permute(1, 2, 0))
    assert not np.array_equal(pixels(Path("out/photo_seed5.png")), image.permute(1, 2, 0))
    assert (pixels(Path("out/photo_mean.png")).shape, "seed" in files_of("out")[0]) == ((36, 56, 3), True)


def test_one_picture_at_temperature_0_by_default(models: Path, photo: Path, glow: Glow) -> None:
    result = glow("restore", photo, "--checkpoint", "photos-upscale2")
    assert result.code == 0, result
    assert "model: photos-upscale2" in result.output
    assert f"{photo}: {Path('outputs/restore/photo_restored.png')}" in result.output
    assert sorted(os.listdir("outputs/restore")) == ["photo_restored.png", "run.json"]
    assert pixels(Path("outputs/restore/photo_restored.png")).shape == (18, 28, 3)
    assert files_of("outputs/restore")[0]["temperature"] == 0
    options = ["restore", photo, "--checkpoint", models / "upscale", "--seed", 1]
    for folder, more in (("zero", []), ("drawn", ["--temperature", 0.7]), ("draws", ["--count", 1])):
        assert glow(*options, *more, "--output", folder).code == 0
    drawn = pixels(Path("drawn/photo_restored.png"))
    assert not np.array_equal(drawn, pixels(Path("zero/photo_restored.png")))
    assert np.array_equal(drawn, pixels(Path("draws/photo_seed1.png")))
    assert sorted(os.listdir("draws")) == ["photo_comparison.png", "photo_seed1.png", "run.json"]


def test_draws_with_mean_spread_and_sheet(models: Path, photo: Path, glow: Glow) -> None:
    result = glow("restore", photo, "--checkpoint", models / "upscale", "--count", 2, "--seed", 7)
    assert f"{photo}: {Path('outputs/restore/photo_comparison.png')}" in result.output, result
    draws = [pixels(Path(f"outputs/restore/photo_seed{seed}.png")) for seed in (7, 8)]
    assert all(draw.shape == (18, 28, 3) for draw in draws)
    mean = np.mean([draw.astype(float) for draw in draws], axis=0)
    assert np.abs(pixels(Path("outputs/restore/photo_mean.png")) - mean).max() <= 0.5
    spread = pixels(Path("outputs/restore/photo_spread.png"))
    assert np.array_equal(sheet_cell("outputs/restore/photo_comparison.png", 18, 28)[..., 0], spread)
    record = json.loads(Path("outputs/restore/run.json").read_text())
    assert record["files"][0] == {"file": "photo_seed7.png", "seed": 7, "temperature": 0.7, "picture": str(photo)}
    assert len(record["files"]) == 5
    for name, text in (("seed8", {"seed": "8"}), ("mean", {"seed": "7", "count": "2"})):
        with Image.open(f"outputs/restore/photo_{name}.png") as picture:
            origin = {"model": record["model"], "version": record["version"]}
            assert picture.text.items() >= (text | origin).items()  # type: ignore[attr-defined]


def test_a_wavelet_flow_enlarges_by_several_factors(photo: Path, glow: Glow, refused: Callable[..., str]) -> None:
    save_pretrained(ImageModel(tiny_wavelet_flow(), 5), Path("bands"))
    restore = ["restore", photo, "--checkpoint", "bands"]
    for options, side in (([], 4), (["--enlarge", 2], 2)):
        assert glow(*restore, *options, "--overwrite", "--output", "outputs/restore").code == 0
        assert pixels(Path("outputs/restore/photo_restored.png")).shape == (9 * side, 14 * side, 3)
    assert glow(*restore, "--damage", "--count", 2, "--output", "draws").code == 0
    assert pixels(Path("draws/photo_damaged.png")).shape == (2, 3, 3)
    assert "factor is 8; expected one of 2, 4" in refused(*restore, "--enlarge", 8, code=1)


@pytest.mark.parametrize(
    "options",
    [
        ["--checkpoint", "photos-clean", "--enlarge", 2],
        ["--checkpoint", "photos-upscale2", "--enlarge", 2],
        ["--checkpoint", "photos-clean", "--no-clean"],
        ["--checkpoint", "photos-clean", "--checkpoint", "photos-upscale2"],
        ["--no-clean"],
        ["--no-clean", "--enlarge", 2, "--force"],
        ["--enlarge", 2, "--enlarge", 4],
        ["--enlarge", 3],
        ["--output", "photo.png", "--format", "jpeg"],
        ["--enlarge", 2, "--damage"],
        ["--task", "clean"],
    ],
)
def test_options_that_exclude_each_other_are_refused_before_a_model_is_loaded(
    options: list[Any], photo: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("glow_app.storage.stored_model.StoredModel.load")
    assert "--mask" not in refused("restore", photo, *options, code=2)


@pytest.mark.parametrize(("task", "sides"), [("upscale", (8, 14)), ("fill", (9, 14)), ("clean", (9, 14))])
def test_undamaged_pictures_can_be_damaged_first(
    models: Path, photo: Path, glow: Glow, task: str, sides: tuple[int, int]
) -> None:
    result = glow("restore", photo, "--checkpoint", models / task, "--damage", "--count", 6)
    assert re.search(r"PSNR: .+ \d+\.\d\d dB, mean of the draws \d+\.\d\d dB", result.output), result
    original = pixels(photo)[: sides[0], : sides[1]]  # cropped to even sides
    assert pixels(Path("outputs/restore/photo_seed0.png")).shape == original.shape
    assert np.array_equal(sheet_cell("outputs/restore/photo_comparison.png", *sides), original)
    damaged = pixels(Path("outputs/restore/photo_damaged.png"))
    assert damaged.shape == ((4, 7, 3) if task == "upscale" else original.shape)
    assert not np.array_equal(damaged, original)


@register("dimmed")
class Dimmed(RestorationTask):
    """Brighten a picture taken with some share of the light, except where another picture is black."""

    takes: ClassVar = {"light": "number", "lit": "picture"}
    prepared: ClassVar[list[torch.Tensor]] = []

    def damage(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return images // 2

    def prepare(self, picture: torch.Tensor, **inputs: Any) -> torch.Tensor:
        super().prepare(picture, **inputs)
        self.prepared.append(torch.where(inputs["lit"] > 0, inputs["light"] * picture, 0).to(torch.uint8))
        return self.prepared[-1]


def test_a_task_of_ones_own_takes_numbers_and_pictures(photo: Path, glow: Glow, refused: Callable[..., str]) -> None:
    save_pretrained(tiny_restorer(Dimmed(), 0.01, images=random_images(16)), Path("own"))
    lit = np.zeros((9, 14), np.uint8)
    lit[:, 5:] = 1
    Image.fromarray(lit).save("lit.png")
    options = ["restore", ".", "--checkpoint", "own", "--input"]
    assert glow(*options, "light=0.5", "--input", "lit=lit.png").code == 0
    (prepared,) = Dimmed.prepared  # lit.png is not restored
    assert np.array_equal(prepared.permute(1, 2, 0), pixels(photo) // 2 * lit[..., None])
    assert "light: could not convert" in refused(*options, "light=little", code=2)
    assert "sigma cannot be used with a model with the task Dimmed" in refused(*options, "sigma=3", code=2)


def test_results_have_the_nature_of_the_picture(models: Path, photo: Path, glow: Glow) -> None:
    exif = Image.Exif()
    exif[Base.Orientation], exif[Base.Artist] = 6, "Ada"
    with Image.open(photo) as picture:
        picture.save("photo.JPG", quality=90, subsampling="4:2:2", exif=exif)
        picture.convert("L").save("grey.tif")
        alpha = Image.new("L", picture.size, 100)
        picture.putalpha(alpha)
        picture.save("clear.gif.png")
    places, upscale = ["photo.JPG", "grey.tif", "clear.gif.png"], ["--checkpoint", models / "upscale"]
    assert glow("restore", *places, *upscale, "--count", 2, "--output", "out").code == 0
    for name in ("seed0", "seed1", "mean"):
        with Image.open(f"out/photo_{name}.JPG") as result:
            assert (result.size, result.getexif()[Base.Artist]) == ((18, 28), "Ada")
            assert (result.format, JpegImagePlugin.get_sampling(result)) == ("JPEG", 0)
        with Image.open(f"out/clear.gif_{name}.png") as result:
            assert (result.size, result.getchannel("A").getextrema()) == ((28, 18), (100, 100))
        assert Path(f"out/grey_{name}.tif").exists()
    assert Path("out/photo_spread.png").exists()
    assert {"photo_seed0.JPG", "photo_spread.png"} < {entry["file"] for entry in files_of("out")}
    options = [*upscale, "--format", "jpeg", "--strip", "--output", "jpeg"]
    result = glow("restore", *places, *options)
    assert "clear.gif_restored.jpg (transparency made white)" in result.output
    assert sorted(os.listdir("jpeg")) == sorted(
        ["run.json", "photo_restored.JPG", "grey_restored.jpg", "clear.gif_restored.jpg"]
    )
    with Image.open("jpeg/photo_restored.JPG") as picture:
        assert (picture.size, dict(picture.getexif())) == ((18, 28), {})
    with Image.open("jpeg/grey_restored.jpg") as picture:
        assert picture.mode == "L"


@pytest.mark.parametrize(
    ("task", "options", "code", "message"),
    [
        ("upscale", ["--mask", "photo.png"], 2, "mask cannot be used with a model with the task Upscale"),
        ("fill", [], 1, "Fill needs the input 'mask'"),
        ("fill", ["--mask", "black.png"], 1, "mask: it is black everywhere"),
        ("fill", ["--mask", "small.png"], 1, "mask: got 3x3; expected 14x9, the size of the picture"),
        ("clean", ["--input", "sigma"], 2, "must be NAME=VALUE"),
        ("upscale", ["--enlarge", 2], 1, "cannot enlarge by a factor"),
        ("fashion-mnist", [], 1, "fashion-mnist is not a restoration model"),
    ],
)
def test_unsuitable_options_are_refused(
    task: str, options: list[Any], code: int, message: str, models: Path, photo: Path, refused: Callable[..., str]
) -> None:
    Image.new("L", (14, 9)).save("black.png")
    Image.new("L", (3, 3), 255).save("small.png")
    place = models / task if (models / task).exists() else task
    line = refused("restore", photo, "--checkpoint", place, *options, code=code)
    assert message in line
    assert not Path("outputs/restore").exists()


def test_results_keep_subfolders_and_distinguish_equal_names(models: Path, photo: Path, glow: Glow) -> None:
    for name in ("in/a/p.png", "in/b/p.png", "in/p.png", "in/p.bmp", "in/p.jpg", "other/p.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photo).save(name)
    Path("in/broken.png").write_bytes(b"x")
    Image.open(photo).save("in/frames.gif", save_all=True, append_images=[Image.new("RGB", (14, 9))])
    places = ["in", "in/p.png", "other/p.png", "nothing.png"]
    restore = ["restore", *places, "--checkpoint", models / "clean", "--force", "--output", "out"]
    result = glow(*restore)
    made = {path.relative_to("out").as_posix() for path in Path("out").rglob("*_*.*")}
    assert made == {"p_restored.jpg", *(f"{name}_restored.png" for name in ("a/p", "b/p", "p", "p-2", "p-3"))}
    assert f"{Path('other/p.png')}: {Path('out/p-3_restored.png')}" in result.output
    *_, summary, broken, frames, missing = result.output.splitlines()
    assert summary == "6 of 9 pictures restored, in out"
    assert broken.startswith("failed: in/broken.png")
    assert "failed: in/frames.gif" in frames
    assert "2 frames; choose one, such as --frame 0" in frames
    assert missing == "failed: there is no file nothing.png"
    assert (result.code, result.errors) == (1, [])
    assert all(entry["change"] > 0 for entry in files_of("out"))
    assert glow(*restore, "--frame", 0, "--overwrite").code == 1
    assert Path("out/frames_restored.png").exists()
    skipped = glow(*restore, "--skip", "--overwrite")
    assert (skipped.code, skipped.output.splitlines()[-1]) == (0, "skipped: there is no file nothing.png")
    result = glow("restore", "in/broken.png", "nothing.png", "--checkpoint", models / "clean")
    assert (result.code, Path("outputs/restore").exists()) == (1, False), "nothing is restored"
    assert glow("restore", "nothing.png", "--checkpoint", models / "clean", "--skip").code == 0


def test_inputs_and_unrelated_files_are_not_replaced(models: Path, photo: Path, glow: Glow) -> None:
    own = photo.with_name("photo_restored.png")
    shutil.copy(photo, own)
    before = own.read_bytes()
    arguments = ["--checkpoint", models / "fill", "--output", photo.parent, "--damage"]
    result = glow("restore", photo, *arguments)
    assert f"{own} exists already" in result.errors[0]
    # An input is not replaced even if other files may be.
    result = glow("restore", photo, own, *arguments, "--overwrite")
    assert (result.code, f"{own} is an input" in result.errors[0]) == (2, True)
    assert sorted(os.listdir(photo.parent)) == ["photo.png", "photo_restored.png"]
    assert own.read_bytes() == before
    assert glow("restore", photo, *arguments, "--overwrite").code == 0
    assert own.read_bytes() != before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "p")])
def test_an_interrupted_run_records_its_results(
    error: BaseException, models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(photo, "photo2.png")
    save = PictureFile.save

    def save_some(self: PictureFile, picture: Image.Image, path: Path, text: dict[str, Any]) -> None:
        if path.name.startswith("photo2"):
            raise error
        save(self, picture, path, text)

    monkeypatch.setattr(PictureFile, "save", save_some)
    result = glow("restore", photo.parent, "--checkpoint", models / "clean", "--damage", "--output", "out")
    assert result.code == (1 if isinstance(error, OSError) else 130)
    names = ["photo_damaged.png", "photo_restored.png", "photo2_damaged.png"]
    assert [file["file"] for file in files_of("out")] == names
    assert sorted(os.listdir("out")) == sorted(["run.json", *names])


def test_results_of_earlier_runs_are_not_restored_again(models: Path, photo: Path, glow: Glow) -> None:
    restore = ["restore", "--checkpoint", models / "upscale"]
    assert glow(*restore, ".").code == 0
    assert "skipped 1 result of earlier runs" in glow(*restore, ".").output
    assert sorted(os.listdir("outputs/restore-2")) == ["photo_restored.png", "run.json"]
    assert glow(*restore, "outputs/restore", "--output", "larger").code == 0
    assert sorted(os.listdir("larger")) == ["photo_restored.png", "run.json"], "the name does not grow"
    assert pixels(Path("larger/photo_restored.png")).shape == (36, 56, 3)


def test_a_missing_file_is_named_before_anything_else(glow: Glow) -> None:
    Path("outputs/restore").mkdir(parents=True)
    Path("outputs/restore/other.txt").touch()  # so that another folder would be announced
    done = glow("restore", "nope.jpg")
    assert (done.code, done.output, done.errors) == (1, "", ["error: there is no file nope.jpg"])


def test_the_size_of_a_picture_is_checked(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = ["restore", photo, "--checkpoint", models / "upscale", "--count", 2]
    restoring = import_module("glow_app.restoration.restoring")
    monkeypatch.setattr(restoring, "_MOST_PIXELS_ON_SHEET", 14 * 9)
    monkeypatch.setattr(restoring, "_MOST_PIXELS", 28 * 18)
    assert glow(*restore).code == 0
    assert sheet_cell("outputs/restore/photo_comparison.png", 9, 14).shape == (9, 14, 3), "reduced"
    monkeypatch.setattr(restoring, "_MOST_PIXELS", 14 * 10)
    assert glow(*restore, "--damage").code == 0
    assert "restored, it would have 28x18 pixels; expected at most" in glow(*restore).errors[0]


def test_damage_and_draws_use_different_noise(
    models: Path, photo: Path, glow: Glow, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = []

    def damage(self: Clean, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise.append(torch.randn(images.shape, generator=generator))
        return images

    monkeypatch.setattr(Clean, "damage", damage)
    assert glow("restore", photo, "--checkpoint", models / "clean", "--damage", "--count", 4, "--seed", 3).code == 0
    draws = [torch.randn(noise[0].shape, generator=image_generator(seed)) for seed in range(3, 7)]
    assert not any(torch.isin(noise[0], draw).any() for draw in draws)


def test_an_untrained_flow_is_refused(photo: Path, refused: Callable[..., str]) -> None:
    model = tiny_restorer(Clean(), 0.01, images=random_images(16))
    picture_conditioning_of(model).encoder.trained.fill_(False)
    save_pretrained(model, Path("short"))
    for command in (["restore", photo], ["evaluate"]):
        assert "the flow of this model is untrained" in refused(*command, "--checkpoint", "short", code=1)


@pytest.mark.slow
def test_training_and_using_a_restoration_model(tmp_path: Path, photo: Path, glow: Glow) -> None:
    folder = Images(random_images(12, (3, 40, 48))).save(tmp_path / "photos")
    tiny = ["--flow.image_shape=[3,32,32]", "--flow.num_steps=1", "--flow.hidden_channels=4"]
    tiny += ["--data.limit=40", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--data.batch_size=10"]
    tiny += ["--data.cache_dir=cache", "--run_dir=run"]
    result = glow("fit", "--config", "restore/upscale2", "--data.root", folder, *tiny, "--trainer.max_steps=1")
    assert "next: glow fit --resume run --trainer.max_steps STEPS (its flow is not trained yet)" in result.output
    assert any("the flow of this model is untrained" in line for line in glow("test", "--checkpoint", "run").errors)
    result = glow("fit", "--resume", "run", "--trainer.max_steps=6")
    assert re.search(r", \d steps, the first \d steps for the encoder, ", result.output), result
    assert "next: glow restore PICTURE --checkpoint run\n" in result.output
    assert list(Path("run/samples").glob("step*.png"))
    model = load_model("run")
    assert isinstance(model, ImageModel)
    assert spec_of(require_task(model)) == {"type": "upscale", "factor": 2, "mixed": True}
    assert glow("restore", photo, "--checkpoint", "run").code == 0
    result = glow("test", "--split=validation", "--checkpoint", "run/last.ckpt")
    assert re.search(r"^bits/dim +\d.* one draw, given the damaged picture$", result.output, re.MULTILINE), result
