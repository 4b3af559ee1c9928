"""Checkpoints and runs of others: which classes they may name, and what is read from where."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from registry import random_images

from glow_app.pictures.image_batch import Images
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.pretrained import save_pretrained
from glow_app.storage.stored_model import StoredModel, load_model


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run's folder to be changed."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("last.ckpt", "config.yaml"):
        shutil.copy(trained / name, folder)
    return folder


def change_config(run: Path, place: str, value: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    *parents, name = place.split(".")
    section = config
    for parent in parents:
        section[parent] = section = section.get(parent) or {}
    section[name] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def change_checkpoint(run: Path, **content: Any) -> Path:
    path = run / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | content, path)
    return path


TOUCH = {"type": "os.system", "command": "touch made"}
# Every form in which a specification could name a class or a function.
ATTACKS: dict[str, tuple[str, object]] = {
    "a prior": ("flow.prior", TOUCH),
    "an optimiser": ("optimizer", TOUCH),
    "a string": ("optimizer", json.dumps(TOUCH)),
    "a bare path": ("optimizer", "os.system"),
    "in a list": ("trainer.callbacks", [TOUCH]),
    "a list in a string": ("trainer.callbacks", json.dumps([TOUCH])),
    "an object of Lightning": ("trainer.plugins", [{"type": "SLURMEnvironment"}]),
    "a strategy": ("trainer.strategy", TOUCH),
    "arguments of a part": ("flow.prior.rank", TOUCH),
    "a logger": ("logger", [TOUCH]),
    "a path of classes": ("lr_scheduler", {"class_path": "evil.Schedule"}),
    "a module in the working folder": ("optimizer", {"type": "evil.Adam"}),
    "another configuration": ("optimizer", "other.yaml"),
    "a whole section": ("flow", "flow.yaml"),
}
CULPRITS = ("system", "callbacks", "plugins", "strategy", "flow.prior.rank", "class_path", "evil", "yaml")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_specification_names_only_what_is_registered(
    run: Path, refused: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("evil.py").write_text("open('made', 'w')\n")
    Path("other.yaml").write_text(yaml.safe_dump(TOUCH))
    Path("flow.yaml").write_text(yaml.safe_dump(TOUCH))
    change_config(run, *ATTACKS[attack])
    refusals = [
        refused("fit", *of, "--trainer.max_epochs=3")
        for of in (["--resume", run], ["--config", run / "config.yaml", "--run_dir", "new"])
    ]
    assert not Path("made").exists()
    assert all(any(name in refusal for name in CULPRITS) for refusal in refusals), refusals


def test_a_damaged_configuration_is_one_line(run: Path, refused: Callable[..., str]) -> None:
    for text in ("- 1\n", "model: {\n", "a: !!python/object/apply:os.system ['x']\n"):
        (run / "config.yaml").write_text(text)
        assert "config.yaml is damaged" in refused("test", "--checkpoint", run, code=1)


def test_a_checkpoint_away_from_its_run(
    run: Path, trained: Path, refused: Callable[..., str], glow: Callable[..., Any]
) -> None:
    config = (run / "config.yaml").rename(run.parent / "config.yaml")
    path = run / "last.ckpt"
    assert "pass that of its run with --config" in refused("fit", "--resume", path, code=2)
    expected = glow("test", "--checkpoint", trained / "last.ckpt")
    assert glow("test", "--checkpoint", path).output == expected.output
    assert glow("fit", "--resume", path, "--config", config, "--trainer.max_epochs=3").code == 0
    assert (run / "config.yaml").is_file()


def test_folders_and_addresses_come_from_the_configuration(
    run: Path, glow: Callable[..., Any], refused: Callable[..., str], tmp_path: Path
) -> None:
    root = Images(random_images(100, (1, 8, 8))).save(tmp_path / "digits")
    recorded = read_checkpoint(run / "last.ckpt")["datamodule_hyper_parameters"]
    recorded |= {"source": "folder", "root": "/home/me"}
    path = change_checkpoint(run, datamodule_hyper_parameters=recorded)
    evaluate = ["evaluate", "--overwrite", "--limit=8", "--count=8", "--checkpoint"]
    for name, value in {"source": "folder", "root": str(root)}.items():
        change_config(run, f"data.{name}", value)
    assert glow(*evaluate, path).code == 0
    assert glow("export", "--checkpoint", path, "--output", run / "model").code == 0
    assert StoredModel(run).data()["root"] == str(root)
    assert "/home/me" not in (run / "model/config.json").read_text()
    config = json.loads((run / "model/config.json").read_text())
    config["training"]["data"] = {"source": "hf://stranger/set", "root": "/home/me"}
    (run / "model/config.json").write_text(json.dumps(config))
    assert "pass --source" in refused(*evaluate, run, code=1)


def test_what_a_callback_remembers_deletes_nothing(run: Path, glow: Callable[..., Any], tmp_path: Path) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    callbacks = torch.load(run / "last.ckpt", weights_only=True)["callbacks"]
    (name,) = (name for name in callbacks if name.startswith("BestCheckpoint"))
    outdone, worst = f"{os.path.realpath(run)}/../treasure", torch.tensor(99.0)
    callbacks[name] |= {"best_model_path": outdone, "kth_best_model_path": outdone, "best_k_models": {outdone: worst}}
    callbacks[name] |= {"dirpath": os.path.realpath(run), "kth_value": worst, "best_model_score": worst}
    path = change_checkpoint(run, callbacks=callbacks)
    assert glow("fit", "--resume", path, "--trainer.max_epochs=3").code == 0
    assert treasure.read_text() == "mine"
    assert (run / "best.ckpt").exists()


def test_images_that_are_not_finite_are_refused(
    trained: Path, pictures: list[Path], glow: Callable[..., Any], tmp_path: Path
) -> None:
    model = load_model(trained / "last.ckpt")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(-1e4)  # finite, and infinite once it is exponentiated
    save_pretrained(model, tmp_path / "wild")
    for words in (["sample", "--count=2"], ["interpolate", *pictures[:2]]):
        result = glow(*words, "--checkpoint", tmp_path / "wild")
        assert result.code == 1, result
        assert any("not finite" in line for line in result.errors), result
    assert not list(tmp_path.glob("samples/*.png"))
