"""Services of logging get everything, one run across resumes, and cannot stop a training."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_training import TINY_FIT

from lightning_modules.runs import run_loggers
from lightning_modules.runs.run_loggers import RunWandbLogger

REPOSITORY = Path(__file__).parents[2]
TINY = [*TINY_FIT, "--trainer.log_every_n_steps=1", "--samples.num_images=10"]


def fit(folder: Path, logger: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``glow fit`` in a process of its own: the services start threads and processes that outlive a run."""
    overlay = f"--config={REPOSITORY / 'configs' / 'logger' / logger}.yaml"
    command = [sys.executable, "-m", "glow_app.cli", "fit", *TINY, overlay, f"--run_dir={folder}", *options]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(folder.parent), "NETRC": str(folder.parent / "netrc"), "WANDB_CONSOLE": "off"}
    settings = {**clean, **home, "PYTHONPATH": str(REPOSITORY), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "run folder" in done.stdout
    return done


@pytest.mark.slow
def test_without_a_key_one_run_is_written_offline_across_a_resume(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, "wandb", "--trainer.max_epochs=1")
    name = (run / "wandb_id").read_text()
    fit(run, "wandb", "--resume=auto", "--trainer.max_epochs=2")
    assert (run / "wandb_id").read_text() == name
    parts = sorted((run / "wandb").glob("offline-run-*"))
    assert [part.name.rsplit("-", 1)[1] for part in parts] == [name, name]
    for part in parts:
        assert list(part.rglob("*.png")), "sample grids"
        assert list(part.glob("*.wandb"))


@pytest.mark.slow
def test_settings_in_the_current_folder_are_not_obeyed(tmp_path: Path) -> None:
    # They would copy one file to another, outside the folder.
    written, folder = tmp_path / "home" / "profile", tmp_path / "images"
    written.parent.mkdir()
    (folder / ".wandb").mkdir(parents=True)
    (folder / "planted.sh").write_text("echo planted")
    relative = f"{'../' * 12}{written.relative_to(written.anchor)}"
    (folder / ".wandb" / "settings").write_text(
        f"[default]\nsave_code = true\nprogram = planted.sh\nprogram_abspath = {folder / 'planted.sh'}\n"
        f"program_relpath = {relative}\nbase_url = http://127.0.0.1:9\n"
    )
    code = (
        "from pathlib import Path; from lightning_modules.runs.run_loggers import RunWandbLogger;"
        "logger = RunWandbLogger(offline=True); logger.belong_to(Path('run')); run = logger.experiment;"
        "print(run.settings.base_url); run.finish()"
    )
    (folder / "run").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    settings = {**clean, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "WANDB_CONSOLE": "off"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=settings, cwd=folder, check=True, timeout=300)
    assert "127.0.0.1" not in done.stdout
    assert ".wandb/settings is not read" in done.stderr
    assert not written.exists()
    assert list((folder / "run" / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_a_server_that_is_away_makes_an_offline_run(tmp_path: Path) -> None:
    away = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    option = "--trainer.logger.init_args.timeout=1"
    done = fit(tmp_path / "run", "wandb", option, "--trainer.max_epochs=1", **away)
    assert "Weights & Biases does not answer" in done.stderr
    assert "this run is logged offline" in done.stderr
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_tensorboard_gets_numbers_and_pictures(tmp_path: Path) -> None:
    fit(tmp_path / "run", "tensorboard", "--trainer.max_epochs=1")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert {"train/bpd", "val/bpd", "grad_norm", "bpd_level/0", "log_det/ActNorm"} <= set(events.Tags()["scalars"])
    assert {f"samples/t{t:.2f}" for t in (0.5, 0.7, 1.0)} <= set(events.Tags()["images"])


class Recording:
    """In the place of a wandb run: keeps what it is given, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.logged: list[dict[str, Any]] = []
        self.artifacts: list[Any] = []
        self.config = self
        self.step = 0

    def update(self, config: dict[str, Any], allow_val_change: bool) -> None:
        self.log(config)

    def log(self, metrics: dict[str, Any], **_: Any) -> None:
        if self.fails:
            raise ConnectionError("the network is gone")
        self.logged.append(metrics)

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)


def logger_of(run: Recording, folder: Path) -> RunWandbLogger:
    logger = RunWandbLogger(offline=True)
    logger.belong_to(folder)
    logger._experiment = run  # type: ignore[assignment]
    return logger


def test_configuration_numbers_pictures_and_model_are_handed_over(tmp_path: Path) -> None:
    run = Recording()
    logger = logger_of(run, tmp_path)
    logger.log_config({"name": "night"})
    logger.log_metrics({"val/bpd": 3.5}, 7)
    logger.log_picture("samples", Image.fromarray(np.zeros((4, 4), np.uint8)), 7)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    logger.log_model(tmp_path / "model")
    config, metrics, picture = run.logged
    assert config["name"] == "night"
    assert {"glow_app_version", "git_commit"} <= config.keys()
    assert metrics == {"val/bpd": 3.5, "trainer/global_step": 7}
    assert isinstance(picture["samples"][0], wandb.Image)
    (artifact,) = run.artifacts
    assert artifact.type == "model"
    assert [*artifact.manifest.entries] == ["config.json"]


def test_a_failure_in_the_middle_is_told_once(tmp_path: Path) -> None:
    logger = logger_of(Recording(fails=True), tmp_path)
    with pytest.warns(UserWarning, match="ConnectionError: the network is gone; training goes on"):
        logger.log_metrics({"val/bpd": 3.5}, 0)
    with warnings.catch_warnings(action="error"):
        logger.log_metrics({"val/bpd": 3.5}, 1)


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_repository_around_an_installation_runs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook, ran = tmp_path / "hook", tmp_path / "ran"
    hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
    hook.chmod(0o755)
    package = tmp_path / "site" / "lightning_modules" / "runs"
    package.mkdir(parents=True)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "hook"], ["commit", "-qm", "x"], ["config", "core.fsmonitor", str(hook)]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(run_loggers, "__file__", str(package / "run_loggers.py"))
    assert run_loggers._commit() is None
    assert not ran.exists()


@pytest.mark.parametrize(("environment", "offline"), [({}, True), ({"WANDB_API_KEY": "0" * 40}, False)])
def test_it_is_offline_where_there_is_no_key(
    environment: dict[str, str], offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert RunWandbLogger()._offline is offline
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'0' * 40}\n")
    assert RunWandbLogger()._offline is False
