"""A run on two machines that loses one and resumes equals an uninterrupted run on one."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_training import repeatable_rows

from glow_app.cli import main
from glow_app.storage.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).parents[2]
OPTIONS = [
    "--config=digits",
    "--trainer.accelerator=cpu",
    "--model.flow.num_steps=1",
    "--model.flow.hidden_channels=4",
    "--data.limit=160",
    "--trainer.max_epochs=3",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--saving.every_n_steps=4",
    "--samples.num_images=10",
]
TWO = ["--config=trainer/ddp", "--trainer.num_nodes=2", "--data.batch_size=8"]


def machine(index: int, folder: Path, port: int, mark: Path | None = None) -> subprocess.Popen[str]:
    """Start the training on one machine: a torchrun of one process, which waits after step 14 if a mark is given."""
    program = ["-m", "glow_app.cli"] if mark is None else [str(Path(__file__).with_name("waits_once.py")), str(mark)]
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", "--max-restarts=3"]
    launcher += ["--rdzv-backend=c10d", "--rdzv-id=night", f"--rdzv-endpoint=127.0.0.1:{port}"]
    launcher += [f"--rdzv-conf=is_host={int(index == 0)}", "--local-addr=127.0.0.1", *program]
    command = [sys.executable, *launcher, "fit", *OPTIONS, *TWO, "--resume=auto", f"--run_dir={folder}"]
    # Without the second variable torchrun waits in vain for the address of a store when a machine comes back.
    settings = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "PYTHONPATH": str(REPOSITORY)}
    log = folder.with_name(f"{folder.name}-{index}.log").open("a")
    return subprocess.Popen(command, env={**os.environ, **settings}, text=True, stdout=log, stderr=log)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a torchrun and the processes that it started, as the loss of the machine would."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    for pid in [process.pid, *map(int, children.stdout.split())]:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def train(folder: Path) -> None:
    """Train on both machines; the second is lost after step 14, and comes back."""
    mark = folder.with_name("mark")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [machine(0, folder, port), machine(1, folder, port, mark)]
    try:
        while not mark.exists():
            assert all(process.poll() is None for process in machines), "ended too early"
            time.sleep(0.05)
        kill(machines[1])
        machines[1] = machine(1, folder, port)
        assert [process.wait() for process in machines] == [0, 0]
    finally:
        for process in machines:
            if process.poll() is None:
                kill(process)


def numbers(run: Path) -> torch.Tensor:
    """Return the log of a run without the loss, which is that of the first machine's half of a batch."""
    rows = repeatable_rows(run)
    return torch.tensor([[float(row[name] or "nan") for name in sorted(row.keys() - {"train/bpd"})] for row in rows])


@pytest.mark.slow
def test_a_machine_that_is_lost_and_comes_back_leaves_no_trace(tmp_path: Path) -> None:
    lost, whole = tmp_path / "lost", tmp_path / "whole"
    train(lost)
    assert main(["fit", *OPTIONS, "--data.batch_size=16", f"--run_dir={whole}"]) == 0
    found, expected = (read_checkpoint(run / "last.ckpt") for run in (lost, whole))
    assert found["global_step"] == expected["global_step"] == 30
    for key in ("state_dict", "current_model_state"):
        for name, value in expected[key].items():
            torch.testing.assert_close(found[key][name], value, rtol=0, atol=1e-5)
    torch.testing.assert_close(numbers(lost), numbers(whole), rtol=1e-4, atol=1e-4, equal_nan=True)
    assert "sync_dist" not in (tmp_path / "lost-0.log").read_text()
    assert main(["test", f"--checkpoint={lost}"]) == 0
