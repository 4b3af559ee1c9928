"""What a run finds in the place of its exported model when it ends."""

from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_training import tiny_fit

from glow_app.models.generation_settings import GenerationSettings
from glow_app.storage.pretrained import model_hash, save_pretrained
from glow_app.storage.stored_model import load_model
from lightning_modules.callbacks import ExportBest


def train(folder: Path, max_epochs: int) -> str:
    """Train, from the last checkpoint if there is one, and return the hash of the best model."""
    last = folder / "last.ckpt"
    best = ModelCheckpoint(folder, "best", monitor="val/bpd", save_last=True, enable_version_counter=False)
    resumed = last if last.exists() else None
    tiny_fit(folder, [best, ExportBest()], enable_checkpointing=True, max_epochs=max_epochs, ckpt_path=resumed)
    return model_hash(load_model(folder / "best.ckpt"))


def test_files_of_others_in_its_place_are_moved_aside(tmp_path: Path) -> None:
    exports = [train(tmp_path, 1)]
    for number in (1, 2):
        (tmp_path / "model" / ".DS_Store").write_text("of a desktop")
        words = f"/model is now .*/model-{number}: .*/model holds other files too, such as .DS_Store$"
        with pytest.warns(UserWarning, match=words):
            exports.append(train(tmp_path, 1 + number))
    assert len(set(exports)) == 3
    names = ("model-1", "model-2", "model")
    assert [model_hash(load_model(tmp_path / name)) for name in names] == exports
    assert [(tmp_path / name / ".DS_Store").exists() for name in names] == [True, True, False]


def test_settings_for_earlier_weights_are_named_as_they_go(tmp_path: Path) -> None:
    train(tmp_path, 1)
    model = load_model(tmp_path / "model")
    model.generation = GenerationSettings(0.9)
    save_pretrained(model, tmp_path / "model", overwrite=True)
    with pytest.warns(UserWarning, match=r"/model no longer recommends temperature 0\.9, "):
        train(tmp_path, 2)
    assert load_model(tmp_path / "model").generation == GenerationSettings()
