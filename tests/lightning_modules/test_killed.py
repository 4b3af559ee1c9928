"""A run that is killed six times, also while writing, ends like an uninterrupted one."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from run_files import assert_same_training, logged
from scripts import run_script
from tiny_training import repeatable_rows

from glow_app.storage.stored_model import load_model


def attempts(folder: Path) -> list[dict[str, Any]]:
    """Return the report of each attempt."""
    reports: list[dict[str, Any]] = []
    for line in run_script("killed.py", folder).stdout.splitlines():
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
    assert [attempt["died"] for attempt in reports] == [-signal.SIGKILL] * 6 + [0, 0]
    assert all(attempt["resumed_at"] == attempt["saved"] for attempt in reports)
    events = {attempt["event"] for attempt in reports[:-2]}
    assert len(events) > 3
    assert events & {"half a checkpoint", "before fsync", "after fsync", "before replace"}, "killed while writing"
    assert_same_training(killed, uninterrupted)
    assert load_model(killed / "model").hash == load_model(uninterrupted / "model").hash
    for grid in (killed / "samples").iterdir():
        assert grid.read_bytes() == (uninterrupted / "samples" / grid.name).read_bytes()
    # Not counted from the machine's start, where the clock stood when an epoch was gone on with.
    assert min(logged(killed, "images_per_second")) > 0.1
    rows, whole = repeatable_rows(killed), repeatable_rows(uninterrupted)
    assert [row for row in whole if row in rows] == rows
    assert len(whole) - len(rows) <= 2, "a kill just after a save loses the row of its step"
    assert not list(killed.glob(".*"))
