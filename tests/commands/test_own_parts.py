"""A prior and a task of the user's own, from training to sampling and resuming."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import tiny_glow
from tiny_training import TINY_FIT

from glow_app import ImageModel, allow_class, load_pretrained, save_pretrained
from glow_app.priors import GaussianPrior
from glow_app.storage.model_config import ALLOWED_CLASSES

MODULE = """
from glow_app import load_model  # which loads what reads models
from glow_app.priors import GaussianPrior
from glow_app.tasks import RestorationTask


class Doubled(GaussianPrior):
    def __init__(self, latent_shape, context_features=0, factor=1):
        super().__init__(latent_shape, context_features)
        self.factor = factor

    @property
    def config(self):
        return {"factor": self.factor}


class Negative(RestorationTask):
    def damage(self, images, generator=None):
        return 255 - images
"""


class OwnPrior(GaussianPrior):
    """The Gaussian by another name."""


def test_a_class_of_ones_own_is_loaded_once_it_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("glow_app.storage.model_config.ALLOWED_CLASSES", dict(ALLOWED_CLASSES))
    model = ImageModel(tiny_glow(prior=OwnPrior)).eval()
    save_pretrained(model, tmp_path / "model")
    name = f"{OwnPrior.__module__}.OwnPrior"
    with pytest.raises(ValueError, match=f"pass --allow-class {name}, or call glow_app.allow_class"):
        load_pretrained(tmp_path / "model")
    allow_class(OwnPrior)
    again = load_pretrained(tmp_path / "model")
    assert isinstance(again, ImageModel)
    assert isinstance(again.flow.prior, OwnPrior)
    assert torch.equal(again.sample(2, seeds=0), model.sample(2, seeds=0))


def run_glow(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "my_parts.py").write_text(MODULE)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-m", "glow_app", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_prior_of_ones_own_from_fit_to_sample(tmp_path: Path) -> None:
    steps = "--trainer.max_steps=2"
    prior = ["--model.flow.prior=my_parts.Doubled", "--model.flow.prior.init_args.factor=3"]
    trained = run_glow("fit", *TINY_FIT, "--run_dir=run", steps, *prior, folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run/model/model.safetensors").is_file()
    refused = run_glow("sample", "--checkpoint", "run", "--count", "1", folder=tmp_path)
    assert refused.returncode == 1
    assert "pass --allow-class my_parts.Doubled" in refused.stderr
    allowed = ["--allow-class", "my_parts.Doubled"]
    drawn = run_glow("sample", "--checkpoint", "run", "--count", "2", "--devices", "2", *allowed, folder=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    resumed = run_glow("fit", "--resume", "run", "--trainer.max_steps=3", *allowed, folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    mistaken = run_glow("info", "run", "--allow-class", "my_parts.Nothing", folder=tmp_path)
    assert mistaken.returncode == 1
    assert "--allow-class my_parts.Nothing: expected the path of a class" in mistaken.stderr
    missing = run_glow("info", "run", "--allow-class", "nowhere.Nothing", folder=tmp_path)
    assert "--allow-class nowhere.Nothing: No module named 'nowhere'; install the package, or put" in missing.stderr


def test_the_option_needs_a_class(glow: Callable[..., Any]) -> None:
    result = glow("sample", "--allow-class")
    assert (result.code, result.errors) == (2, ["error: glow: argument --allow-class: expected one argument"])


@pytest.mark.slow
def test_a_task_of_ones_own_is_resumed(tmp_path: Path) -> None:
    options = ["--model.task=my_parts.Negative", "--model.flow.condition_channels=1"]
    sizes = ["--model.flow.condition_features=4", "--model.flow.condition_blocks=2"]
    first = run_glow("fit", *TINY_FIT, "--run_dir=run", "--trainer.max_steps=3", *options, *sizes, folder=tmp_path)
    assert first.returncode == 0, first.stderr
    allowed = ["--allow-class", "my_parts.Negative"]
    resumed = run_glow("fit", "--resume", "run", "--trainer.max_steps=5", *allowed, folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    measured = run_glow("test", "--checkpoint", "run", *allowed, folder=tmp_path)
    assert "PSNR of draws" in measured.stdout
