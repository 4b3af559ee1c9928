"""The results of `glow fit`, and resuming."""

import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from run_files import assert_same_training, load, logged, rows
from tiny_training import TINY_FIT

from glow_app.cli import main
from glow_app.data.sources import load_split
from glow_app.models.generation_settings import GenerationSettings
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import load_model


def test_the_run_folder_holds_everything(trained: Path) -> None:
    files = ("config.yaml", "last.ckpt", "best.ckpt", "model/config.json", "model/model.safetensors")
    assert all((trained / name).is_file() for name in files)
    grids = {path.name for path in (trained / "samples").iterdir()}
    assert grids == {"step0000008.png", "step0000016.png"}
    for name in grids:
        with Image.open(trained / "samples" / name) as picture:
            assert np.asarray(picture).std() > 0
    for name, count in {"train/bpd": 8, "val/bpd": 2, "grad_norm": 8, "images_per_second": 8, "lr": 8}.items():
        values = logged(trained, name)
        assert len(values) == count
        assert all(math.isfinite(value) and value > 0 for value in values), name
    assert logged(trained, "val/bpd")[1] < logged(trained, "val/bpd")[0]


def test_the_progress_is_live_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    once = ["fit", *TINY_FIT, "--trainer.max_epochs=1", f"--run_dir={tmp_path}", "--trainer.enable_model_summary=true"]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(once) == 0
    output = capsys.readouterr().out
    assert "━" * 9 in output.rpartition("on the CPU")[2]
    assert "Total params" in output


def test_the_outcome_counts_the_pictures_that_were_validated(tmp_path: Path, glow: Callable[..., Any]) -> None:
    limits = ["--trainer.max_epochs=1", "--trainer.limit_val_batches=2", "--data.eval_batch_size=8"]
    assert "on 16 pictures held out" in glow("fit", *TINY_FIT, *limits, f"--run_dir={tmp_path / 'run'}").output


def test_a_missing_package_of_a_logger_is_named_with_its_extra(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning_fabric.loggers.tensorboard.{name}", False)
    message = refused("fit", *TINY_FIT, "--config=logger/tensorboard", code=2)
    assert "pip install 'glow-app[tensorboard]'" in message


def test_checkpoints_hold_the_averaged_weights(trained: Path) -> None:
    checkpoint = load(trained / "last.ckpt")
    name = "model.flow.prior.whiten.mean"
    assert not torch.equal(checkpoint["state_dict"][name], checkpoint["current_model_state"][name])
    averaged = load_model(trained / "last.ckpt").state_dict()["flow.prior.whiten.mean"]
    assert torch.equal(averaged, checkpoint["state_dict"][name])


@pytest.mark.slow
def test_the_configuration_file_reproduces_the_run(trained: Path, tmp_path: Path, glow: Callable[..., Any]) -> None:
    again = tmp_path / "again"
    assert glow("fit", "--config", trained / "config.yaml", "--run_dir", again).code == 0
    assert_same_training(trained, again)


def test_a_finished_run_is_left_as_it_is(trained: Path, tmp_path: Path, glow: Callable[..., Any]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    model = load_model(copy / "model")
    model.generation = GenerationSettings(0.9)
    save_pretrained(model, copy / "model", overwrite=True)
    config = (copy / "model/config.json").read_bytes()
    result = glow("fit", "--resume", copy)
    assert result.code == 0
    assert "already complete at step 16; raise --trainer.max_epochs\n" in result.output
    assert rows(copy) == rows(trained)
    assert (copy / "model/config.json").read_bytes() == config


@pytest.mark.slow
def test_a_run_from_a_model_knows_after_a_resume_where_it_began(
    trained: Path, tmp_path: Path, glow: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    run = tmp_path / "run"
    few = [TINY_FIT[0], "--data.limit=128", "--trainer.max_epochs=1"]
    begun = glow("fit", *few, f"--init-from={trained}", f"--run_dir={run}")
    start = re.search(r"starts at   val (\S+)", begun.output)
    assert start
    load = torch.load

    def recorded(file: Any, **options: Any) -> Any:
        reads.append(Path(file.name).name)
        return load(file, **options)

    monkeypatch.setattr(torch, "load", recorded)
    resumed = glow("fit", "--resume", run, "--trainer.max_epochs=2")
    assert "starts at" not in resumed.output
    assert f"{start[1]} before training" in resumed.output
    assert reads.count("last.ckpt") == 1


def test_a_run_is_not_resumed_with_another_model(trained: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    shutil.copytree(trained, tmp_path / "run")
    prior = "--flow.prior=maf"
    message = refused("fit", "--resume", tmp_path / "run", prior, "--trainer.max_epochs=3", code=1)
    assert "prior is maf, but gaussian in the checkpoint" in message
    message = refused("fit", "--resume", tmp_path / "run", "--num_bits=3", "--trainer.max_epochs=3", code=1)
    assert message.startswith("error: num_bits is 3, but 4 in the checkpoint")
    assert "--resume auto needs --run_dir" in refused("fit", *TINY_FIT, "--resume=auto", code=2)
    assert "samples is not a run that can be resumed" in refused("fit", "--resume", tmp_path / "run/samples", code=1)


def test_a_run_with_a_damaged_last_checkpoint_is_resumed_from_another(
    trained: Path, tmp_path: Path, glow: Callable[..., Any]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run/last.ckpt").write_bytes(b"damaged")
    result = glow("fit", "--resume", tmp_path, "--trainer.max_epochs", "3")  # a folder of runs
    assert result.code == 0, result
    assert f"resumes     {tmp_path}/run/best.ckpt at step" in result.output
    assert any("skipping" in line and "last.ckpt" in line for line in result.errors)


@pytest.mark.slow
def test_float64_trains_and_reconstructs(tmp_path: Path, glow: Callable[..., Any], tiny_run: list[str]) -> None:
    folder = tmp_path / "run"
    options = ["--trainer.precision", "64-true", "--trainer.max_epochs", 1, "--num_bits", 8]
    assert glow("fit", "--run_dir", folder, *tiny_run, *options).code == 0
    assert all(math.isfinite(value) for value in logged(folder, "val/bpd"))
    assert load_model(folder).dtype == torch.float64
    drawn = ["sample", "--count", 2, "--checkpoint", folder, "--output", tmp_path / "drawn"]
    assert glow(*drawn).code == 0
    result = glow("reconstruct", *(tmp_path / "drawn").glob("seed*"), "--checkpoint", folder)
    assert "largest pixel error 0 of 255" in result.output


@pytest.fixture
def two_kinds(tmp_path: Path) -> Path:
    """A folder of a class of dark pictures and one of bright ones."""
    root = tmp_path / "kinds"
    for index in range(80):
        pixels = np.random.default_rng(index).integers(0, 64, (8, 8), dtype=np.uint8) + 160 * (index % 2)
        path = root / ("bright" if index % 2 else "dark") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


@pytest.mark.slow
def test_images_without_classes_are_tested_by_the_marginal(
    two_kinds: Path, glow: Callable[..., Any], tiny_run: list[str]
) -> None:
    options = ["--data.source=folder", "--data.root", two_kinds, "--data.batch_size=16"]
    options += ["--flow.conditioning=classes"]
    options += ["--flow.conditioning.num_classes=2"]
    assert glow("fit", "--run_dir", "run", *tiny_run, *options, "--trainer.max_epochs=4").code == 0
    flat = two_kinds.parent / "flat"
    flat.mkdir()
    for path in (two_kinds / "dark").iterdir():
        shutil.copy(path, flat)
    result = glow("test", "--checkpoint", "run", "--root", flat)
    assert result.code == 0, result
    assert f"data: folder, 40 images of {flat}, the whole folder (not checked for " in result.output
    assert ", 4-bit, labels unknown\n" in result.output
    model = load_model("run/best.ckpt")
    assert model.facts == {"classes": ["bright", "dark"]}
    whole = load_split("folder", "train", (1, 8, 8), root=flat, validation_fraction=0, test_fraction=0)
    images = torch.from_numpy(np.asarray(whole.images))
    measured = float(re.findall(r"^bits/dim +(\S+)", result.output, re.MULTILINE)[0])
    assert measured == pytest.approx(float(model.bits_per_dim(images).mean()), abs=0.1)
    as_the_first_class = model.bits_per_dim(images, torch.zeros(len(images), dtype=torch.int64))
    assert measured < float(as_the_first_class.mean()) - 0.2
    two_kinds.rename("moved")
    moved = glow("test", "--checkpoint", "run", "--training", "moved").output
    assert "data: folder, 8 images of the test split (held out from the training), 8x8," in moved
