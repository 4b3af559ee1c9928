import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from registry import tiny_glow, tiny_model, tiny_wavelet_flow
from tiny_training import same

import glow_app
from glow_app.cli import main
from glow_app.conditioning import AttributeConditioning
from glow_app.data.sources import load_split
from glow_app.data.splits import Split, SplitRequest
from glow_app.messages import UsageError
from glow_app.models.image_model import ImageModel
from glow_app.storage.model_folders import bundled_models
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.length import Length, measure_step
from lightning_modules.runs.run_folder import Launch
from lightning_modules.runs.start import Start

LEVELS: dict[str, Any] = {"detail_steps": [1, 2, 1], "detail_features": 4, "images_per_window": [8, 4, 2]}
START = ImageModel(tiny_wavelet_flow((3, 64, 64), num_levels=2, **LEVELS), 5)
TINY = [
    *("--device=cpu", "--from-scratch", "--trainer.max_time=null"),
    *("--flow.num_steps=1", "--flow.hidden_channels=4"),
    *("--flow.detail_channels=4", "--flow.detail_features=4"),
    "--flow.detail_blocks=1",
]


@pytest.fixture(autouse=True, scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bundle a tiny model from which runs begin."""
    folder = tmp_path_factory.mktemp("bundled")
    (folder / "faces").symlink_to(bundled_models()["faces"])
    save_pretrained(START, folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glow_app.storage.model_folders._BUNDLED", folder)
        yield


def pictures(folder: Path, count: int, size: int = 40, mode: str = "RGB") -> Path:
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(count):
        pixels = draw.integers(0, 256, (size, size + 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{number}.png")
    return folder


def planned(
    capsys: pytest.CaptureFixture[str], *arguments: object, measured: tuple[float, int, int] = (0.1, 7, 7)
) -> tuple[dict[str, Any], str]:
    """Return the options of the run, by their names with dots, and what is printed; nothing is built."""
    found: dict[str, Any] = {}

    def run(spec: dict[str, Any], start: Start, launch: Launch, length: Length | None) -> str:
        description = ""
        if length is not None:
            options, description = length.options(spec["trainer"].get("max_steps", -1), measured)
            spec["trainer"] |= options
        print(description)
        found.update(flat(spec))
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_modules.run.run", run)
        assert main(["fit", *map(str, arguments)]) == 0
    return found, capsys.readouterr().out


def flat(spec: dict[str, Any], place: str = "") -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in spec.items():
        options[f"{place}{name}"] = value
        options |= flat(value, f"{place}{name}.") if isinstance(value, dict) else {}
    return options


def test_a_folder_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, said = planned(capsys, pictures(tmp_path / "My cats!", 120), "--epochs", 3, "--device", "cpu")
    assert (options["name"], options["trainer.max_epochs"]) == ("My-cats", 3)
    assert options["flow.image_shape"] == [3, 32, 32]
    assert "flow.conditioning" not in options
    assert said.splitlines() == [
        "chosen      32x32, on cpu (options: --size, --config, --device, --from-scratch)",
        "time        3 epochs (options: --minutes, --epochs)",
        "",
    ]


def test_subfolders_are_classes_unless_not_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "pets" / "cat", 70)
    pictures(tmp_path / "pets" / "dog", 60)
    options, _ = planned(capsys, tmp_path / "pets", "--epochs", 1)
    assert options["flow.conditioning.num_classes"] == 2
    options, _ = planned(capsys, tmp_path / "pets", "--epochs", 1, "--no-classes")
    assert "flow.conditioning" not in options


def test_a_table_in_the_folder_is_used_and_a_run_with_it_resumes_bit_for_bit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, draw = pictures(tmp_path / "a", 60, 16), np.random.default_rng(0)
    lines = [f"{number}.png,{draw.integers(2)},{'' if number == 7 else draw.random()}" for number in range(58)]
    (folder / "attributes.csv").write_text("\n".join(["file,smiling,age", *lines]))
    options, said = planned(capsys, folder, "--epochs", 1)
    assert (options["data.attributes"], options["contrast"]) == (True, 10)
    assert "attributes  smiling, age, of the table" in said
    options, _ = planned(capsys, folder, "--epochs", 1, "--data.attributes=null")
    assert "contrast" not in options

    words = ["fit", str(folder), "--epochs=2", "--size=16", "--data.batch_size=16", "--samples.num_images=2", *TINY]
    whole, part = tmp_path / "whole", tmp_path / "part"

    def copy(module: ImageModule) -> None:
        if module.current_epoch == 1:
            shutil.copytree(whole, part)

    with monkeypatch.context() as patch:
        patch.setattr(ImageModule, "on_train_epoch_start", copy)
        assert main([*words, f"--run_dir={whole}", "--trainer.precision=bf16-mixed"]) == 0
    assert main(["fit", f"--resume={part}"]) == 0
    with (whole / "metrics.csv").open() as file:
        columns = next(csv.reader(file))
    assert {"train/bpd", "train/contrast", "val/bpd"} < set(columns)
    model, resumed = load_model(whole / "last.ckpt"), load_model(part / "last.ckpt")
    assert same(model.state_dict(), resumed.state_dict())
    assert isinstance(model, ImageModel)
    described = model.vocabulary.describe()
    assert described is not None
    assert [each["name"] for each in described["attributes"]] == ["smiling", "age"]
    assert bool(model.conditioning.adopted)


@pytest.mark.parametrize("has_table", [False, True])
def test_the_preset_of_celeba_uses_the_attributes_that_are_there(tmp_path: Path, has_table: bool) -> None:
    folder, run = pictures(tmp_path / "celeba", 40, 16), tmp_path / "run"
    if has_table:
        lines = [f"{number}.png,{(-1) ** number},{1 if number < 9 else -1}" for number in range(40)]
        (folder / "list_attr_celeba.csv").write_text("\n".join(["image_id,Smiling,Male", *lines]))
    words = ["fit", "--config=celeba64", f"--data.root={folder}", f"--run_dir={run}", "--data.batch_size=16"]
    flow = ["--flow.image_shape=[3,16,16]", "--flow.num_levels=2"]
    assert main([*words, *flow, "--trainer.max_epochs=1", *TINY[3:5]]) == 0
    conditioning = load_model(run / "last.ckpt").conditioning
    names = list(conditioning.attributes) if isinstance(conditioning, AttributeConditioning) else []
    assert names == (["Smiling", "Male"] if has_table else [])
    assert ("train/contrast" in (run / "metrics.csv").read_text()) == has_table


@pytest.mark.parametrize(
    ("device", "side", "size", "preset"),
    [
        ("cpu", 400, 128, "folder_cpu"),
        ("cpu", 18, 16, "folder_cpu"),
        ("gpu", 28, 32, "folder32"),
        ("gpu", 70, 64, "folder"),
        ("gpu", 400, 128, "folder128"),
    ],
)
def test_size_and_preset_follow_from_pictures_and_device(
    device: str, side: int, size: int, preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "a", 3, side)
    options, said = planned(capsys, folder, "--device", device, "--epochs", 1, "--from-scratch")
    assert f"preset {preset}, on {device}" in said
    assert options["trainer.accelerator"] == device
    assert options["flow.image_shape"] == [3, size, size]
    assert options.get("init_levels_from") is None
    options, _ = planned(capsys, folder, "--device", device, "--epochs", 1)
    assert options["flow.image_shape"] == [3, size, size]
    flow = "flow"
    assert options["init_levels_from"] == "photos"
    num = {16: 1, 32: 2}.get(size, 3)
    assert {name: options[f"{flow}.{name}"] for name in LEVELS} == {
        "detail_steps": [1, 2, 1][-num:],
        "detail_features": 4,
        "images_per_window": [8, 4, 2][-num:],
    }


def test_grey_pictures_few_pictures_and_choices_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "a", 10, mode="L")
    options, said = planned(
        capsys, folder, "--epochs", 1, "--size", 64, "--seed", 7, "--name", "mine", "--device", "cuda"
    )
    assert options["flow.image_shape"] == [1, 64, 64]
    assert (options["seed"], options["name"], options["data.batch_size"]) == (7, "mine", 5)
    assert options["trainer.accelerator"] == "cuda"
    assert "preset folder, on cuda" in said
    assert "begins from scratch: the bundled models" in said
    prior, steps = "flow.prior.type", "flow.detail_steps"
    options, _ = planned(capsys, folder, "--epochs=1", "-c=folder128", "-c", "prior/maf")
    assert options["flow.image_shape"] == [3, 128, 128]
    assert options[prior] == "maf"
    options, _ = planned(capsys, folder, "--epochs=1", "-c", "prior/maf", "--device", "cpu", "--size=16")
    assert (options[prior], options[steps]) == ("maf", [1])


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for device in ("gpu", "mps"):
        line = ["fit", str(pictures(tmp_path / device, 3)), "--epochs=1", f"--device={device}"]
        assert main([*line, f"--run_dir={tmp_path / 'run'}"]) == 2
        (error,) = (text for text in capsys.readouterr().err.splitlines() if "error" in text)
        assert device in error.lower()


def test_folders_without_pictures_and_with_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["fit", str(tmp_path / "empty")]) == 1
    assert "no image files in" in capsys.readouterr().err
    (tmp_path / "empty/last.ckpt").touch()
    assert main(["fit", str(tmp_path / "empty"), f"--run_dir={tmp_path / 'empty'}"]) == 1
    assert "contains an earlier run" in capsys.readouterr().err


def test_mismatches_with_an_initial_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pets = pictures(tmp_path / "pets" / "cat", 6).parent
    pictures(pets / "dog", 6)
    plain, classes = (
        save_pretrained(model, tmp_path / name)
        for name, model in (("plain", ImageModel(tiny_glow((1, 8, 8)))), ("classes", tiny_model(num_classes=3)))
    )
    _, said = planned(capsys, pets, "--epochs", 1, "--init-from", plain)
    assert "warning     the model of --init-from is grey" in said
    assert "warning     2 classes are ignored" in said
    with pytest.raises(ValueError, match="num_classes is 3, but the images have 2 classes"):
        glow_app.train(pets, epochs=1, init_from=classes, device="cpu", run_dir=tmp_path / "run")


def test_the_plan_is_that_of_the_steps_that_are_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "a", 12)
    options, said = planned(capsys, folder, "--trainer.max_steps=47", *TINY, measured=(0.1, 1, 1))
    assert (options["trainer.max_steps"], options["trainer.max_epochs"]) == (47, -1)
    assert planned(capsys, folder, "--minutes=3", "--trainer.max_time=null")[0]["trainer.max_time"] is None
    assert options["trainer.val_check_interval"] == 5
    assert "47 steps of 0.10 s, 47 epochs" in said
    options, _ = planned(capsys, folder, "--epochs=2", "--trainer.max_steps=47", *TINY)
    assert (options["trainer.max_steps"], options["trainer.max_epochs"]) == (47, 2)


def test_a_class_without_a_picture_to_train_on_and_a_folder_by_a_relative_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "pets" / "cat", 40)
    pictures(tmp_path / "pets" / "dog", 1)
    monkeypatch.chdir(tmp_path)
    names = [path.relative_to(tmp_path / "pets").as_posix() for path in sorted((tmp_path / "pets").rglob("*.*"))]
    requests = (SplitRequest(split="train", image_shape=(3, 16, 16), seed=seed) for seed in range(100))
    seed = next(request.seed for request in requests if 40 not in request.rows(names))
    options = ["--config=folder_cpu", "--data.root=pets", "--run_dir=run", "--flow.image_shape=[3,16,16]"]
    options += ["--flow.detail_steps=[1]", "--flow.images_per_window=2"]
    options += ["--flow.conditioning=classes"]
    options += ["--flow.conditioning.num_classes=2"]
    options += ["--trainer.max_steps=1", "--trainer.accelerator=cpu", f"--seed={seed}", *TINY[2:]]
    with pytest.warns(
        UserWarning, match="classes without a picture to train on, whose samples will be noise: dog; add"
    ):
        assert main(["fit", *options]) == 0
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"]["root"] == str(tmp_path / "pets")
    Path("pets").rename("moved")
    capsys.readouterr()
    assert main(["fit", "--resume=run", "--trainer.max_steps=2"]) == 1
    assert capsys.readouterr().err.endswith("pets does not exist; if the pictures have moved, pass --data.root\n")


def test_accumulated_batches_make_no_more_validations(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three batches in two steps make an epoch; ten validations.
    monkeypatch.setattr("lightning_modules.runs.length._step_seconds", lambda *_: 0.2)
    loader = MagicMock(world_size=1, accumulate_grad_batches=2)
    loader.train_dataloader.return_value = range(3)
    measured = measure_step(None, loader, loader)
    options, said = planned(capsys, pictures(tmp_path / "a", 150), "--minutes", 1, *TINY, measured=measured)
    assert "170 steps of 0.30 s, 85 epochs" in said
    assert options["trainer.max_steps"] == 170
    assert options["trainer.val_check_interval"] == 26
    assert said.splitlines()[1].startswith("1 minute: ")


def test_the_same_command_starts_and_resumes_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = str(pictures(tmp_path / "a", 140)), tmp_path / "run"
    monkeypatch.setattr("lightning_modules.run.measure_step", lambda *parts: (0.7, 7, 7))
    line = ["fit", folder, "--minutes=0.12", f"--run_dir={run}", "--samples.num_images=1", *TINY]
    run.mkdir()
    (run / "metrics.csv").write_text("step\n0\n")  # left by a run without a checkpoint
    assert main([*line, "--resume", "auto"]) == 0
    assert "resuming" not in capsys.readouterr().out
    assert "val/bpd" in (run / "metrics.csv").read_text()
    assert main([*line, "--resume", "auto"]) == 0
    said = capsys.readouterr().out
    assert f"resuming {run}" in said
    assert "already complete" in said
    assert main([*line, "--resume", str(run)]) == 2
    assert "use glow fit --resume RUN" in capsys.readouterr().err


def test_training_from_python_returns_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "a" / "left", 30)
    pictures(tmp_path / "a" / "right", 30)
    small = {name.removeprefix("--"): int(value) for name, value in (word.split("=") for word in TINY[3:])}
    wrongs: list[dict[str, Any]] = [{"size": 40}, {"sizes": 16}]
    for wrong in wrongs:
        with pytest.raises(UsageError, match="size"):
            glow_app.train("a", **wrong)
    model = glow_app.train("a", epochs=1, size=16, device="cpu", from_scratch=True, **small)
    assert (model.flow.image_shape, model.facts) == ((3, 16, 16), {"classes": ["left", "right"]})
    (run,) = (tmp_path / "runs" / "a").iterdir()
    assert (run / "model" / "model.safetensors").exists()


def test_a_run_begins_from_the_levels_of_a_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "pets" / "cat", 20).parent
    pictures(folder / "dog", 20)
    for number in range(5):
        (folder / f"dog/{number}.png").write_bytes(b"broken")
    line = ["fit", str(folder), "--epochs=1", "--device=cpu", "--size=16", "--samples.num_images=1"]
    line += ["--optimizer.lr=0"]
    with pytest.warns(UserWarning, match="5 of 40 files"):
        assert main([*line, f"--run_dir={tmp_path / 'a'}"]) == 0
    said = capsys.readouterr().out
    splits: tuple[Split, ...] = ("train", "validation", "test")
    train, held_out, test = (load_split("folder", split, (3, 16, 16), root=folder) for split in splits)
    num_cats, num_dogs = train.labels.bincount().tolist()
    numbers = f"{len(train)} to train on (cat {num_cats}, dog {num_dogs}), {len(held_out)} for validation"
    assert f"\npictures    {numbers}, {len(test)} for testing, so few that figures are uncertain\n" in said
    assert "\nbegins from photos (3 of 3 levels)\n" in said
    assert re.search(r"best at step 0 .* held out, (\S+) before training\); no step was better than the model it", said)
    assert re.search(r"only \d+ pictures? held out, 20 are needed", said)
    model, images = load_model(tmp_path / "a"), torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    assert model.vocabulary.values == ["cat", "dog"]
    y = model.dequantised(images, None)
    found = model.flow.log_prob(y, model.context(torch.ones(4, dtype=torch.long), 4))
    torch.testing.assert_close(found, START.flow.log_prob(y), rtol=1e-4, atol=1e-2)
    other = ["--config=folder_cpu", "--flow.num_levels=2", *TINY[3:]]
    assert main([*line, *other, f"--run_dir={tmp_path / 'b'}"]) == 0
    assert "scratch: no level of photos fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "steps", "seconds"),
    [
        ([], 100, 1710),  # the recipe's, at most half an hour
        (["--minutes=2"], 1020, 114),
        (["--minutes=1", "--from-scratch"], 510, 57),
        (["--from-scratch"], 15300, 1710),
        (["--trainer.max_steps=47"], 47, None),
        (["--init-from=photos"], 100, 1710),
    ],
)
def test_the_number_of_steps_is_that_of_the_recipe_unless_a_time_is_given(
    options: list[str], steps: int, seconds: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, said = planned(capsys, pictures(tmp_path / "a", 12), "--device=cpu", *options)
    assert (found["trainer.max_steps"], found.get("trainer.max_time")) == (steps, seconds and {"seconds": seconds})
    assert found["trainer.val_check_interval"] == round(steps / 10)
    assert f"{steps:,} steps of 0.10 s" in said
    schedule = [found.get(f"lr_scheduler.{name}") for name in ("warmup_steps", "full_rate_steps")]
    assert schedule == ([50, None] if "--from-scratch" in options else [1000, 200])
