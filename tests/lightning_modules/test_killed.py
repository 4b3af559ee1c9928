"""A run that is killed at twenty moments, also while it writes, ends as one that was left in peace."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import repeatable_rows

from glow_app.storage.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).parents[2]
NUM_KILLS = 20


def lives(folder: Path, num_kills: int) -> list[dict[str, Any]]:
    """Return what each life of a run told."""
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), str(folder), str(num_kills)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    told: list[dict[str, Any]] = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if "saved" in entry:
                told.append({})
            told[-1] |= entry
    return told


@pytest.mark.slow
def test_a_run_killed_at_any_moment_loses_only_what_was_not_saved(tmp_path: Path) -> None:
    killed, peaceful = tmp_path / "killed", tmp_path / "peaceful"
    told = lives(killed, NUM_KILLS)
    assert [life["died"] for life in told] == [-signal.SIGKILL] * NUM_KILLS + [0]
    assert all(life["resumed_at"] == life["saved"] for life in told)
    events = {life["event"] for life in told[:-1]}
    assert len(events) > 5
    assert events & {"half a checkpoint", "before fsync", "after fsync", "before replace"}, "killed while writing"
    lives(peaceful, 0)
    found, expected = (read_checkpoint(folder / "last.ckpt") for folder in (killed, peaceful))
    for key in ("epoch", "global_step"):
        assert found[key] == expected[key]
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(found[key][name], value) for name, value in expected[key].items())
    assert repeatable_rows(killed) == repeatable_rows(peaceful)
    assert not list(killed.glob(".*"))
