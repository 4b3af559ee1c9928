"""A run that is stopped says so, and leaves whole files."""

import signal
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from glow_app.cli import main
from lightning_modules.callbacks import Throughput
from lightning_modules.checkpoint_io import AtomicCheckpointIO

REPOSITORY = Path(__file__).parents[2]
TINY = [
    f"--config={REPOSITORY / 'configs/digits.yaml'}",
    "--model.flow.num_steps=1",
    "--model.flow.hidden_channels=4",
    "--data.limit=128",
    "--trainer.max_epochs=3",
    "--trainer.check_val_every_n_epoch=1",
]


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def full_disk(checkpoint: object, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file\nmore")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"last\.ckpt could not be written .*an earlier one is intact$"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("stop", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_run_with_its_code_and_how_to_go_on(
    stop: signal.Signals,
    code: int,
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    original = Throughput.on_train_epoch_start

    def stop_in_the_second_epoch(self: Throughput, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        original(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            signal.raise_signal(stop)

    monkeypatch.setattr(Throughput, "on_train_epoch_start", stop_in_the_second_epoch)
    run = tmp_path / "run"
    try:
        found: Any = main(["fit", *TINY, f"--run_dir={run}"])
    except SystemExit as error:
        found = error.code
    assert found == code
    assert f"{word}; go on with: glow fit --resume {run}" in capsys.readouterr().err
    assert not list(run.glob(".*"))


def test_classes_that_are_not_the_datas_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *TINY, "--model.flow.num_classes=3", f"--run_dir={tmp_path / 'run'}"]) == 1
    assert "num_classes is 3, but the images have 10 classes (0, 1, 2" in capsys.readouterr().err


def test_a_short_epoch_has_its_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *TINY, f"--run_dir={tmp_path / 'run'}"]) == 0
    assert "nan" not in capsys.readouterr().out
