"""Two machines train one run; one is lost, comes back, and nothing shows it."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_training import repeatable_rows

from glow_app.storage.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).parents[2]


def namespaces_are_possible() -> bool:
    """Return whether this process may make a network namespace."""
    if os.geteuid() or shutil.which("ip") is None:
        return False
    made = subprocess.run(["ip", "netns", "add", "glow-probe"], capture_output=True, check=False).returncode == 0
    return made and subprocess.run(["ip", "netns", "del", "glow-probe"], check=False).returncode == 0


def free_port() -> int:
    """Return a port that is free, as is the next one in all likelihood."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_a_machine_that_is_lost_and_comes_back_leaves_no_trace(tmp_path: Path) -> None:
    script = str(Path(__file__).parent / "two_nodes.py")
    options = ["--namespaces"] if namespaces_are_possible() else []
    command = [sys.executable, script, str(tmp_path), f"--port={free_port()}", *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=500)
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stderr[-1000:] + logs
    assert "killed the second machine" in done.stdout
    found, expected = (read_checkpoint(tmp_path / name / "last.ckpt") for name in ("lost", "whole"))
    assert found["global_step"] == expected["global_step"] == 80
    for key in ("state_dict", "current_model_state"):
        for name, value in expected[key].items():
            torch.testing.assert_close(found[key][name], value, rtol=0, atol=1e-5)
    assert repeatable_rows(tmp_path / "lost") == repeatable_rows(tmp_path / "whole")
