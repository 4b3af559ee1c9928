"""A run on two machines that loses one and resumes equals an uninterrupted run on one."""

from pathlib import Path

import pytest
import torch
from scripts import run_script
from tiny_training import repeatable_rows

from glow_app.cli import main
from glow_app.storage.checkpoint import read_checkpoint

OPTIONS = [
    "--config=digits",
    "--trainer.accelerator=cpu",
    "--flow.num_steps=1",
    "--flow.hidden_channels=4",
    "--data.limit=160",
    "--trainer.max_epochs=3",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--saving.every_n_steps=4",
    "--samples.num_images=10",
]
TWO = ["--data.batch_size=8"]  # the launcher decides on all else


def numbers(run: Path) -> torch.Tensor:
    """Return the log of a run without the loss, which is that of the first machine's half of a batch."""
    rows = repeatable_rows(run)
    return torch.tensor([[float(row[name] or "nan") for name in sorted(row.keys() - {"train/bpd"})] for row in rows])


@pytest.mark.slow
def test_a_machine_that_is_lost_and_comes_back_leaves_no_trace(tmp_path: Path) -> None:
    lost, whole = tmp_path / "lost", tmp_path / "whole"
    done = run_script("two_machines.py", "fit", *OPTIONS, *TWO, "--resume=auto", f"--run_dir={lost}")
    assert "sync_dist" not in done.stderr
    assert main(["fit", *OPTIONS, "--data.batch_size=16", f"--run_dir={whole}"]) == 0
    found, expected = (read_checkpoint(run / "last.ckpt") for run in (lost, whole))
    assert found["global_step"] == expected["global_step"] == 30
    for key in ("state_dict", "current_model_state"):
        for name, value in expected[key].items():
            torch.testing.assert_close(found[key][name], value, rtol=0, atol=1e-5)
    torch.testing.assert_close(numbers(lost), numbers(whole), rtol=1e-4, atol=1e-4, equal_nan=True)
    assert main(["test", f"--checkpoint={lost}"]) == 0
