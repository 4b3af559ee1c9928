"""A stopped run prints how to resume, and leaves complete files."""

import csv
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Timer
from tiny_training import TINY_FIT, repeatable_rows, tiny_fit

from glow_app.cli import main
from glow_app.storage.checkpoint import read_checkpoint
from glow_app.storage.model_folders import read_config
from lightning_modules.callbacks import BestCheckpoint, SaveProgress
from lightning_modules.image_module import ImageModule
from lightning_modules.runs.checkpoints import AtomicCheckpointIO
from lightning_modules.runs.stopping import StopSignals

TINY = [*TINY_FIT, "--trainer.max_epochs=3"]


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, original = tmp_path / "last.ckpt", torch.save

    def full_disk(checkpoint: object, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file\nmore")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"could be written to .* \(PytorchStreamWriter .*\)"):
        AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(torch, "save", original)
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match=r"could be written to .*; earlier ones are intact$"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.slow
def test_a_run_is_saved_when_its_terminal_is_closed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [f"--run_dir={run}", "--trainer.max_epochs=1000", "--saving.every_n_steps=1"]
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "glow_app", "fit", *TINY_FIT, *options])
    shown = b""
    while b"epoch" not in shown or not (run / "last.ckpt").exists():
        shown += os.read(terminal, 1 << 16)
    before = read_checkpoint(run / "last.ckpt")["global_step"]
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129, shown.decode(errors="replace")[-2000:]
    assert read_checkpoint(run / "last.ckpt")["global_step"] > before


def test_a_run_under_nohup_continues_when_the_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals = StopSignals()
        signals.install()
        signal.raise_signal(signal.SIGHUP)
        assert signals.received == 0
        signals.restore()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_if_the_first_process_fails_the_others_end(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fails_alone.py")
    found = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stderr
    assert found.stderr.splitlines()[-1] == "error: no space left on device"
    assert not is_alive((tmp_path / "waiting").read_text())


def test_a_run_in_a_thread_is_trained_to_its_end(tmp_path: Path) -> None:
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as pool:  # as that of a page of Gradio or Streamlit
        trainer = pool.submit(tiny_fit, tmp_path, [SaveProgress()], enable_checkpointing=True).result()
    assert trainer.global_step == 8
    assert (tmp_path / "last.ckpt").exists()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


def is_alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def fit(*options: str) -> Any:
    """Run ``glow fit`` and return its exit code."""
    try:
        return main(["fit", *TINY, *options])
    except SystemExit as error:
        return error.code


def signal_at_step(step: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a signal come in the middle of a training step."""
    original = ImageModule.loss

    def loss(self: ImageModule, batch: Any, generator: torch.Generator) -> torch.Tensor:
        if self.training and self.global_step == step:
            signal.raise_signal(number)
        return original(self, batch, generator)

    monkeypatch.setattr(ImageModule, "loss", loss)


MUON = ["--data.batch_size=32", "--trainer.log_every_n_steps=1", "--optimizer=muon"]
FLOWS = {
    "glow": [],
    "wavelets": [
        *("--flow.type=wavelet", "--flow.num_levels=1", "--memory=checkpoint"),
        *("--flow.detail_steps=[1]", "--flow.detail_channels=4", "--flow.detail_features=4"),
        *("--flow.detail_blocks=1", "--flow.window=2", "--flow.images_per_window=2"),
    ],
}


@pytest.mark.parametrize(
    ("flow", "step", "number", "code"), [("glow", 2, signal.SIGINT, 130), ("wavelets", 3, signal.SIGTERM, 143)]
)
def test_a_signal_saves_the_step_in_which_it_comes_and_nothing_is_lost(
    flow: str, step: int, number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3 is the last before a validation, which a run that stops there still has to do."""
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    assert fit(*MUON, *FLOWS[flow], f"--run_dir={whole}") == 0
    with monkeypatch.context() as patch:
        signal_at_step(step, number, patch)
        assert fit(*MUON, *FLOWS[flow], f"--run_dir={stopped}") == code
    assert read_checkpoint(stopped / "last.ckpt")["global_step"] == step + 1
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    assert handlers == [signal.default_int_handler, signal.SIG_DFL]
    assert main(["fit", "--resume=auto", f"--run_dir={stopped}"]) == 0
    assert repeatable_rows(stopped) == repeatable_rows(whole)
    for name in ("last", "best"):
        resumed, expected = (read_checkpoint(run / f"{name}.ckpt") for run in (stopped, whole))
        assert resumed["global_step"] == expected["global_step"]
        for key in ("state_dict", "current_model_state"):
            assert all(torch.equal(resumed[key][name], value) for name, value in expected[key].items())


def validations(run: Path) -> list[tuple[str, str]]:
    """Return step and value of every validation in the log."""
    with (run / "metrics.csv").open() as file:
        return [(row["step"], row["val/bpd"]) for row in csv.DictReader(file) if row["val/bpd"]]


def test_a_resumed_run_keeps_its_model_and_optimiser(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    assert fit(f"--run_dir={run}") == 0
    shutil.copytree(run, moved)
    with pytest.warns(UserWarning, match=r"^optimizer is restored as it was saved; start a new run"):
        assert main(["fit", f"--resume={moved}", "--trainer.max_epochs=4", "--optimizer.lr=0.5"]) == 0
    assert main(["fit", f"--resume={run}", f"--run_dir={moved}"]) == 1
    assert f"{moved} contains an earlier run" in capsys.readouterr().err
    content = bytearray((run / "last.ckpt").read_bytes())
    weights = read_checkpoint(run / "last.ckpt")["state_dict"]
    largest = max(weights.values(), key=lambda tensor: tensor.numel())
    content[content.index(bytes(largest.untyped_storage())[:64])] ^= 1
    (run / "last.ckpt").write_bytes(content)
    assert main(["fit", f"--resume={run}/last.ckpt", "--trainer.max_epochs=4"]) == 1
    assert re.search(r"error: .*last\.ckpt is truncated or damaged", capsys.readouterr().err)


def validated_steps(folder: Path, callbacks: Sequence[Callback] = (), **options: Any) -> list[int]:
    """Train with epochs of four batches; return the steps after which there was a validation."""
    steps = []

    class Note(Callback):
        def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            steps.append(trainer.global_step)

    best = BestCheckpoint(str(folder), "val/bpd")
    tiny_fit(folder, [*callbacks, best, Note()], enable_checkpointing=True, **options)
    assert read_checkpoint(folder / "best.ckpt")["global_step"] in steps
    return steps


class SixSeconds(Timer):
    """Lets every step take a second."""

    def __init__(self) -> None:
        super().__init__(timedelta(seconds=6))
        self._seconds = 0

    def time_elapsed(self, stage: str = "train") -> float:
        return self._seconds

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._seconds += 1
        super().on_train_batch_end(trainer, *args, **kwargs)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_epochs": 5}, [8, 16, 20]),
        # Every seventh batch, whatever the length of an epoch, and a limit that ends the run before max_steps.
        ({"max_epochs": 3, "max_steps": 99, "val_check_interval": 7, "check_val_every_n_epoch": None}, [7, 12]),
        ({"max_epochs": 3, "val_check_interval": 0.75, "check_val_every_n_epoch": 1}, [3, 7, 11, 12]),
        # Three batches make a step, and the last one of an epoch another.
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, [4, 6]),
        ({"max_epochs": 9, "max_steps": 5, "accumulate_grad_batches": 3}, [4, 5]),
    ],
    ids=str,
)
def test_the_last_step_is_validated_once(options: dict[str, Any], expected: list[int], tmp_path: Path) -> None:
    assert validated_steps(tmp_path, **{"check_val_every_n_epoch": 2, **options}) == expected


@pytest.mark.slow
def test_a_run_stops_where_validation_no_longer_improves_also_across_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(self: ImageModule, batch: Any, generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {"bpd": torch.full((len(batch[0]),), 3.0 + abs(self.global_step - 8))}

    monkeypatch.setattr(ImageModule, "evaluate", evaluate)
    options = ["--data.batch_size=32", "--trainer.max_epochs=9", "--early_stopping.patience=3"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert fit(*options, f"--run_dir={whole}") == 0
    assert [step for step, _ in validations(whole)] == ["3", "7", "11", "15", "19"]
    line = "best at step 8 of 36 (3.000 bits/dim on 128 pictures held out); later ones overfitted (15.000 at step 20)"
    assert f"{line}, so training stopped early" in capsys.readouterr().out
    assert read_checkpoint(whole / "best.ckpt")["global_step"] == 8
    assert read_config(whole / "model")["training"]["step"] == 8
    with monkeypatch.context() as patch:
        signal_at_step(13, signal.SIGTERM, patch)
        assert fit(*options, f"--run_dir={stopped}") == 143
    for _ in range(2):
        assert main(["fit", f"--resume={stopped}"]) == 0
        assert validations(stopped) == validations(whole)
    assert "training was already complete at step 20" in capsys.readouterr().out
    assert main(["fit", f"--resume={stopped}", "--early_stopping.patience=4"]) == 0
    assert len(validations(stopped)) == 6


@pytest.mark.slow
def test_a_run_keeps_to_its_time_also_across_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 0

    def elapsed(timer: Timer, stage: str = "train") -> float:
        return seconds + timer._offset

    def loss(self: ImageModule, batch: Any, generator: torch.Generator) -> torch.Tensor:
        nonlocal seconds
        seconds += self.training
        return original(self, batch, generator)

    original = ImageModule.loss
    monkeypatch.setattr(ImageModule, "loss", loss)
    monkeypatch.setattr(Timer, "time_elapsed", elapsed)
    options = ["--data.batch_size=32", "--trainer.max_time=00:00:00:06", f"--run_dir={tmp_path / 'run'}"]
    with monkeypatch.context() as patch:
        signal_at_step(2, signal.SIGTERM, patch)
        assert fit(*options) == 143
    seconds = 0
    assert main(["fit", f"--resume={tmp_path / 'run'}"]) == 0
    assert [step for step, _ in validations(tmp_path / "run")] == ["3", "5"]
    assert re.search(
        r"best at step 6 of 12 .* longer training may help; the time was up at step 6", capsys.readouterr().out
    )


@pytest.mark.parametrize("every", [5, None])
def test_the_last_step_before_the_time_is_up_is_validated(every: int | None, tmp_path: Path) -> None:
    options = {"max_epochs": -1, "check_val_every_n_epoch": every, "val_check_interval": 4}
    assert validated_steps(tmp_path, [SixSeconds()], **options) == ([6] if every else [4, 6])


def test_the_best_checkpoint_is_kept_where_a_folder_was_moved(tmp_path: Path) -> None:
    state = BestCheckpoint(str(tmp_path / "old"), "val/bpd").state_dict()
    state |= {"best_model_score": torch.tensor(3.0), "best_model_path": str(tmp_path / "old" / "best.ckpt")}
    new = tmp_path / "new"
    new.mkdir()
    (new / "best.ckpt").write_bytes(b"")
    best = BestCheckpoint(str(new), "val/bpd")
    best.load_state_dict(state)
    assert best.best_model_path == str(new / "best.ckpt")
    trainer = MagicMock()
    trainer.strategy.reduce_boolean_decision = bool
    assert not best.check_monitor_top_k(trainer, torch.tensor(4.0))
    assert best.check_monitor_top_k(trainer, torch.tensor(2.0))


def test_slurms_signal_saves_and_requeues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{scontrol.parent}:{os.environ['PATH']}")
    job = {"JOB_ID": "77", "JOB_NAME": "night", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    signal_at_step(1, signal.SIGUSR1, monkeypatch)
    assert fit(f"--run_dir={tmp_path / 'run'}") == 0
    assert (tmp_path / "asked").read_text().split() == ["requeue", "77"]
    assert "job 77 requeued" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("hpc*"))
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 2


@pytest.mark.slow
def test_a_schedule_gets_the_number_of_steps_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [f"--run_dir={tmp_path / 'run'}", "--data.batch_size=32"]
    assert fit("--lr_scheduler=exponential", *options) == 2
    assert "expected one of cosine, one_cycle" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert fit("--lr_scheduler=one_cycle", "--lr_scheduler.max_lr=0.01", *options) == 0
