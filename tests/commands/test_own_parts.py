"""Custom priors, optimisers and tasks: training, sampling and resuming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from registry import tiny_glow
from tiny_training import TINY_FIT

from glow_app import ImageModel, allow_class, load_model, save_pretrained
from glow_app.priors import GaussianPrior
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.model_config import ALLOWED_CLASSES
from glow_app.storage.model_folders import ALLOWED_VARIABLE

MODULE = """
from torch.optim import Adam

from glow_app.priors import GaussianPrior
from glow_app.restoration import RestorationTask


class Doubled(GaussianPrior):
    def __init__(self, latent_shape, context_features=0, factor=1):
        super().__init__(latent_shape, context_features)
        self.factor = factor

    @property
    def config(self):
        return {"factor": self.factor}


class OwnAdam(Adam):
    pass


class Negative(RestorationTask):
    def damage(self, images, generator=None):
        return 255 - images
"""


OWN_CLASSES = dict(ALLOWED_CLASSES)


class OwnPrior(GaussianPrior):
    """A Gaussian prior under another name."""


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Write ``my_parts``; return a function that forgets the allowed classes, as a new process would."""
    (tmp_path / "my_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def forget() -> None:
        monkeypatch.setattr("glow_app.storage.model_config.ALLOWED_CLASSES", dict(OWN_CLASSES))
        monkeypatch.setenv(ALLOWED_VARIABLE, "")

    forget()
    return forget


def test_an_allowed_class_is_loaded(tmp_path: Path) -> None:
    model = ImageModel(tiny_glow(prior=OwnPrior)).eval()
    save_pretrained(model, tmp_path / "model")
    name = f"{OwnPrior.__module__}.OwnPrior"
    with pytest.raises(ValueError, match=f"pass --allow-class {name}, or call glow_app.allow_class"):
        load_model(tmp_path / "model")
    allow_class(OwnPrior)
    again = load_model(tmp_path / "model")
    assert isinstance(again.flow.prior, OwnPrior)
    assert torch.equal(again.sample(2, seeds=0), model.sample(2, seeds=0))


def test_a_custom_prior_and_optimiser_are_trained_sampled_and_resumed(
    new_process: Callable[[], None], glow: Callable[..., Any], refused: Callable[..., str]
) -> None:
    own = ["--model.flow.prior=my_parts.Doubled", "--model.flow.prior.init_args.factor=3"]
    own += ["--model.optimizer=my_parts.OwnAdam", "--model.optimizer.lr=0.001"]
    assert glow("fit", *TINY_FIT, "--run_dir=run", "--trainer.max_steps=2", *own).code == 0
    assert Path("run/model/model.safetensors").is_file()
    new_process()
    assert "pass --allow-class my_parts.Doubled" in refused("sample", "--checkpoint", "run", "--count", "1")
    prior, optimizer = (["--allow-class", f"my_parts.{name}"] for name in ("Doubled", "OwnAdam"))
    assert glow("sample", "--checkpoint", "run", "--count", "2", *prior).code == 0
    new_process()
    assert "pass --allow-class my_parts.OwnAdam" in refused("fit", "--resume", "run", *prior)
    assert glow("fit", "--resume", "run", "--trainer.max_steps=3", *prior, *optimizer).code == 0
    assert read_checkpoint(Path("run/last.ckpt"))["global_step"] == 3
    assert "my_parts.Nothing: " in refused("info", "run", "--allow-class", "my_parts.Nothing", code=1)


@pytest.mark.slow
def test_a_custom_task_is_resumed(new_process: Callable[[], None], glow: Callable[..., Any]) -> None:
    conditioning = "--model.flow.conditioning"
    options = ["--kind=restoration", f"{conditioning}=PictureConditioning", f"{conditioning}.task=my_parts.Negative"]
    sizes = [f"{conditioning}.features=4", f"{conditioning}.num_blocks=2"]
    assert glow("fit", *TINY_FIT, "--run_dir=run", "--trainer.max_steps=3", *options, *sizes).code == 0
    new_process()
    allowed = ["--allow-class", "my_parts.Negative"]
    assert glow("fit", "--resume", "run", "--trainer.max_steps=5", *allowed).code == 0
    assert "PSNR of draws" in glow("test", "--checkpoint", "run", *allowed).output
