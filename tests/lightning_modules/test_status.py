from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Timer

from lightning_modules.callbacks.status import Status, nothing_left


@pytest.fixture
def trainer() -> Any:
    figures = {"train/bpd": 1.5, "val/bpd": 1.25, "images_per_second": 1234.0}
    return SimpleNamespace(
        global_step=0,
        current_epoch=11,
        max_epochs=28,
        estimated_stepping_batches=400,
        callbacks=[],
        checkpoint_callbacks=[],
        callback_metrics={name: torch.tensor(value) for name, value in figures.items()},
    )


def status_of(trainer: Any, monitor: str = "val/bpd") -> Status:
    model = SimpleNamespace(unit="bits/dim", things="images")
    module = SimpleNamespace(metric="bpd", monitor=monitor, model=model, device=torch.device("cpu"))
    status = Status(trainer, module)  # type: ignore[arg-type]
    trainer.global_step = 100
    return status


def test_a_narrow_terminal_keeps_what_matters_most(trainer: Any) -> None:
    status = status_of(trainer)
    whole = status.line()
    for word in ("train 1.500", "val 1.250", "best 1.250", "bits/dim", "1,234 images/s", "elapsed", "left", "GB"):
        assert word in whole
    for width in (100, 80, 68, 60):
        line = status.line(width=width)
        assert len(line) <= width
        assert line.startswith("epoch 12/28")
        assert "val 1.250" in line
        assert line.endswith("left") or width == 100
    assert status.line(width=10**3) == whole


def test_a_restorer_has_a_psnr_and_no_best_bits(trainer: Any) -> None:
    trainer.callback_metrics["val/psnr"] = torch.tensor(28.346)
    line = status_of(trainer, "val/loss").line()
    assert "val 1.250  bits/dim  28.35 dB" in line
    assert "best" not in line


def test_time_left_knows_of_a_bound_of_time(trainer: Any) -> None:
    trainer.callbacks = [Timer(duration=timedelta(minutes=2))]
    trainer.estimated_stepping_batches = float("inf")
    assert "0:02:00 left" in status_of(trainer).line()


def test_what_ends_a_run_before_its_first_step_is_named_with_what_changes_it(trainer: Any) -> None:
    done = SimpleNamespace(processed=3)
    trainer.fit_loop = SimpleNamespace(epoch_progress=SimpleNamespace(current=done))
    trainer.global_step, trainer.max_epochs, trainer.max_steps = 1200, 40, 1200
    nothing = "nothing was left to train: already at"
    assert nothing_left(trainer) == f"{nothing} 1,200 of 1,200 steps; add --trainer.max_steps N"
    done.processed = 40
    both = f"{nothing} 40 of 40 epochs and 1,200 of 1,200 steps; add --trainer.max_epochs N and --trainer.max_steps N"
    assert nothing_left(trainer) == both
    trainer.max_epochs, trainer.max_steps = -1, 5000
    trainer.callbacks = [timer := Timer(duration=timedelta(seconds=5))]
    timer.load_state_dict({"time_elapsed": {"train": 5.2}})
    assert nothing_left(trainer) == f"{nothing} 0:00:05 of 0:00:05; add --trainer.max_time DD:HH:MM:SS"
    trainer.callbacks, trainer.limit_train_batches = [], 0
    assert nothing_left(trainer) == "nothing was left to train: --trainer.limit_train_batches is 0"
