"""A run that is killed six times, also while writing, ends like an uninterrupted one."""

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
NUM_KILLS = 6


def attempts(folder: Path) -> list[dict[str, Any]]:
    """Return the report of each attempt."""
    command = [sys.executable, str(Path(__file__).parent / "killed.py"), str(folder), str(NUM_KILLS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    reports: list[dict[str, Any]] = []
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if "saved" in entry:
                reports.append({})
            reports[-1] |= entry
    return reports


@pytest.mark.slow
def test_a_run_killed_at_any_moment_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    reports = attempts(tmp_path)
    assert [attempt["died"] for attempt in reports] == [-signal.SIGKILL] * NUM_KILLS + [0, 0]
    assert all(attempt["resumed_at"] == attempt["saved"] for attempt in reports)
    events = {attempt["event"] for attempt in reports[:-2]}
    assert len(events) > 3
    assert events & {"half a checkpoint", "before fsync", "after fsync", "before replace"}, "killed while writing"
    found, expected = (read_checkpoint(folder / "last.ckpt") for folder in (killed, uninterrupted))
    for key in ("epoch", "global_step"):
        assert found[key] == expected[key]
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(found[key][name], value) for name, value in expected[key].items())
    rows, whole = repeatable_rows(killed), repeatable_rows(uninterrupted)
    assert [row for row in whole if row in rows] == rows
    assert len(whole) - len(rows) <= 2, "a kill just after a save loses the row of its step"
    assert not list(killed.glob(".*"))
