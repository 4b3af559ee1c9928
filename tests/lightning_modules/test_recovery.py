"""Training resumes only from complete and finite checkpoints, and none is lost."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_fit

from lightning_modules.callbacks import EMA, SaveProgress
from lightning_modules.runs.checkpoints import AtomicCheckpointIO, good_checkpoint, read_whole, replace_last


def checkpoint(step: int, value: float = 1.0) -> dict[str, Any]:
    """Return the least that a checkpoint of ``glow fit`` must contain."""
    weights = {"model.weight": torch.full((50,), value), "model.count": torch.tensor(3)}
    moments = [{"state": {0: {"exp_avg": torch.full((3,), value)}}}]
    return {
        "global_step": step,
        "state_dict": weights,
        "optimizer_states": moments,
        "glow_app": {"model": {}, "training": {}},
    }


def write(folder: Path, **steps: int) -> None:
    for name, step in steps.items():
        torch.save(checkpoint(step), folder / f"{name}.ckpt")


def good_path(folder: Path) -> Path:
    found = good_checkpoint(folder)
    assert found is not None
    assert found[1]["global_step"] > 0
    return found[0]


def poison(path: Path) -> None:
    torch.save(checkpoint(9, float("nan")), path)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def test_the_last_is_taken(tmp_path: Path) -> None:
    assert good_checkpoint(tmp_path) is None
    assert good_checkpoint(tmp_path / "nothing") is None
    write(tmp_path, last=9, previous=6, best=7)
    assert good_path(tmp_path) == tmp_path / "last.ckpt"


@pytest.mark.parametrize(
    ("harm", "words"), [(tear, "is truncated or damaged"), (poison, "number in state_dict is not finite")]
)
def test_a_damaged_checkpoint_is_skipped_for_the_newest_good_one(harm: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path, last=9, previous=6, best=7)
    harm(tmp_path / "last.ckpt")
    with pytest.warns(UserWarning, match=rf"skipping a checkpoint: .*last\.ckpt.*{words}"):
        assert good_path(tmp_path) == tmp_path / "best.ckpt"
    harm(tmp_path / "best.ckpt")
    with pytest.warns(UserWarning, match=words):
        assert good_path(tmp_path) == tmp_path / "previous.ckpt"
    harm(tmp_path / "previous.ckpt")
    with pytest.raises(ValueError, match=rf"no checkpoint of {re.escape(str(tmp_path))} is usable.*delete them"):
        good_checkpoint(tmp_path)


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint(checkpoint(step), tmp_path / ".next.ckpt")
        replace_last(tmp_path)
    replace_last(tmp_path)  # nothing waits
    assert torch.load(tmp_path / "last.ckpt")["global_step"] == 3
    assert torch.load(tmp_path / "previous.ckpt")["global_step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_non_finite_checkpoints_are_not_written(tmp_path: Path) -> None:
    AtomicCheckpointIO().save_checkpoint(checkpoint(1), tmp_path / "last.ckpt")
    averaged = {**checkpoint(2), "current_model_state": {"w": torch.tensor([torch.nan])}}
    for bad in (checkpoint(2, float("inf")), averaged):
        with pytest.warns(UserWarning, match=r"last\.ckpt is not written: a number in \S+ is not finite"):
            AtomicCheckpointIO().save_checkpoint(bad, tmp_path / "last.ckpt")
    assert read_whole(tmp_path / "last.ckpt")["global_step"] == 1


def saving(folder: Path, accumulate: int = 1, epochs: int = 2, **options: Any) -> list[int]:
    """Train epochs of four batches and return the steps after which it saved."""
    steps = []

    class Recording(AtomicCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
            super().save_checkpoint(checkpoint, path, storage_options)
            steps.append(checkpoint["global_step"])

    callbacks = [SaveProgress(**options), EMA()]
    tiny_fit(
        folder,
        callbacks,
        plugins=[Recording()],
        enable_checkpointing=True,
        accumulate_grad_batches=accumulate,
        max_epochs=epochs,
    )
    return steps


def test_of_epochs_that_are_soon_over_the_first_and_the_last_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_modules.callbacks.save._SECONDS", math.inf)
    assert saving(tmp_path / "soon", epochs=4) == [4, 16]
    assert saving(tmp_path / "asked", epochs=4, every_n_steps=1, accumulate=4) == [1, 2, 3, 4]
    monkeypatch.setattr("lightning_modules.callbacks.save._SECONDS", 0.0)
    assert saving(tmp_path / "late", epochs=4) == [4, 8, 12, 16]


def test_steps_inside_an_epoch_are_saved(tmp_path: Path) -> None:
    assert saving(tmp_path, every_n_steps=3) == [3, 4, 7, 8]


def test_nothing_is_saved_between_accumulated_gradients(tmp_path: Path) -> None:
    assert saving(tmp_path, accumulate=2, every_minutes=1e-9) == [1, 2, 3, 4]
