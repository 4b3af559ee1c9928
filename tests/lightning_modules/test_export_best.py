"""Export at the end of a run into a folder that already exists."""

from pathlib import Path

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint
from tiny_training import tiny_fit

from glow_app.storage.stored_model import load_model, model_hash
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
    (tmp_path / "model" / ".DS_Store").write_text("of a desktop")
    with pytest.warns(UserWarning, match=r"/model is now .*/model-.*: .*contains other files too, such as .DS_Store$"):
        exports.append(train(tmp_path, 2))
    aside, new = sorted(tmp_path.glob("model*"), reverse=True)
    assert [model_hash(load_model(path)) for path in (aside, new)] == exports
    assert [(path / ".DS_Store").exists() for path in (aside, new)] == [True, False]
