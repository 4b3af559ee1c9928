"""Logs continue across resumes, and failures of Weights & Biases do not stop the training."""

import csv
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_training import TINY_FIT

from glow_app.cli import main
from lightning_modules.runs.loggers import RunWandbLogger, csv_logger

REPOSITORY = Path(__file__).parents[2]


def test_a_log_goes_on_at_the_step_of_the_checkpoint(tmp_path: Path) -> None:
    for first_step, steps, name in ((0, range(4), "a"), (3, range(3, 6), "b")):
        logger = csv_logger(tmp_path, first_step)
        for step in steps:
            logger.log_metrics({name: 0.1 * step}, step)
            logger.save()
        with (tmp_path / "metrics.csv").open("a") as file:
            file.write("0.5")  # half a row of a killed run
    with (tmp_path / "metrics.csv").open() as file:
        found = [(row["step"], row["a"], row["b"]) for row in csv.DictReader(file) if row["step"]]
    expected = [(str(step), str(0.1 * step), "") for step in range(3)]
    assert found == expected + [(str(step), "", str(0.1 * step)) for step in range(3, 6)]


def test_tensorboard_has_the_figures_and_the_samples_of_the_report(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # which takes seconds

    options = ["--config=logger/tensorboard", "--samples.num_images=4", "--trainer.log_every_n_steps=1"]
    assert main(["fit", *TINY_FIT, *options, "--trainer.max_epochs=2", f"--run_dir={tmp_path}"]) == 0
    events = EventAccumulator(str(tmp_path / "tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    with (tmp_path / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in rows[0].keys() - {"step"}:
        values = [float(row[name]) for row in rows if row[name]]
        assert [event.value for event in events.Scalars(name)] == pytest.approx(values), name
    shown = [np.asarray(Image.open(io.BytesIO(image.encoded_image_string))) for image in events.Images("samples")]
    grids = [np.asarray(Image.open(path).convert("RGB")) for path in sorted((tmp_path / "samples").glob("*.png"))]
    assert len(grids) == 2
    np.testing.assert_array_equal(shown, grids)


# Without a key, then without a server.
TWO_FITS = """
import os, sys, wandb
from glow_app.cli import main
fit = ["fit", *sys.argv[1:], "--resume=auto"]
assert main([*fit, "--trainer.max_epochs=1"]) == 0
wandb.finish()
wandb.teardown()  # it reads the environment once
os.environ |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
assert main([*fit, "--trainer.max_epochs=2", "--logger.timeout=1"]) == 0
"""


@pytest.mark.slow
def test_without_a_key_or_a_server_one_run_is_written_offline_across_a_resume(tmp_path: Path) -> None:
    """In a process of its own: the service starts threads and processes that outlive a run."""
    run = tmp_path / "run"
    tiny = [*TINY_FIT, "--trainer.log_every_n_steps=1", "--samples.num_images=10", "--config=logger/wandb"]
    command = [sys.executable, "-c", TWO_FITS, *tiny, f"--run_dir={run}"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    home = {"HOME": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "WANDB_CONSOLE": "off"}
    settings = {**clean, **home, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=settings, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("logging offline") == 2
    name = yaml.safe_load((run / "config.yaml").read_text())["logger"]["id"]
    parts = sorted((run / "wandb").glob("offline-run-*"))
    assert [part.name.rsplit("-", 1)[1] for part in parts] == [name, name]
    for part in parts:
        assert list(part.rglob("*.png")), "sample grids"
        assert list(part.glob("*.wandb"))


class Recording:
    """In the place of a wandb run: keeps what it is given, or fails."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.logged: list[Any] = []
        self.config = self

    def update(self, config: dict[str, Any], allow_val_change: bool) -> None:
        self.log(config)

    def log(self, metrics: dict[str, Any], **_: Any) -> None:
        if self.fails:
            raise ConnectionError("the network is gone")
        self.logged.append(metrics)

    def define_metric(self, *_: Any, **__: Any) -> None:
        """Accept an axis."""

    def log_artifact(self, *artifact: Any, type: str) -> None:
        self.logged.append(artifact)


def logger_of(run: Recording, monkeypatch: pytest.MonkeyPatch) -> RunWandbLogger:
    monkeypatch.setattr("wandb.init", lambda **_: run)
    return RunWandbLogger(offline=True, id="night")


def test_an_id_that_could_be_a_number_stays_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.commands.fit_spec.token_hex", lambda _: "90823e05")
    ids: list[str] = []

    def init(**settings: Any) -> Recording:
        ids.append(settings["id"])
        return Recording()

    monkeypatch.setattr("wandb.init", init)
    run = ["--config=logger/wandb", "--logger.offline=true", f"--run_dir={tmp_path / 'run'}"]
    for options in (["--trainer.max_epochs=1"], ["--trainer.max_epochs=2", "--resume=auto"]):
        assert main(["fit", *TINY_FIT, *run, *options]) == 0
    assert ids == [ids[0]] * 2
    assert ids[0].endswith("90823e05")


def test_configuration_numbers_pictures_and_model_are_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb  # which takes seconds

    run = Recording()
    logger = logger_of(run, monkeypatch)
    logger.log_hyperparams({"name": "night"})
    logger.log_metrics({"val/bpd": 3.5}, 7)
    logger.log_image("samples", [Image.fromarray(np.zeros((4, 4), np.uint8))], 7)
    logger.log_export(tmp_path)
    config, metrics, picture, artifact = run.logged
    assert config == {"name": "night"}
    assert metrics == {"val/bpd": 3.5, "trainer/global_step": 7}
    assert isinstance(picture["samples"][0], wandb.Image)
    assert artifact == (str(tmp_path), "model-night")


def test_a_failure_in_the_middle_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logger_of(Recording(fails=True), monkeypatch)
    with pytest.warns(UserWarning, match="ConnectionError: the network is gone; training continues"):
        logger.log_metrics({"val/bpd": 3.5}, 0)
    with warnings.catch_warnings(action="error"):
        logger.log_metrics({"val/bpd": 3.5}, 1)
