import os
import sys
from pathlib import Path

import pytest

from lightning_modules.crowding import Crowding, run_delays


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_this_thread_is_told_of() -> None:
    assert run_delays()[str(os.getpid())] >= 0.0


def test_delays_are_read_in_seconds_and_what_has_ended_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"7": "5000000000 1500000000 42\n", "8": "0 0 0\n", "9": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "schedstat").write_text(text)
    (tmp_path / "10").mkdir()
    monkeypatch.setattr("lightning_modules.crowding.TASKS", tmp_path)
    assert run_delays() == {"7": 1.5, "8": 0.0}


def test_shares_are_those_since_the_last_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, delays = 100.0, {"1": 10.0, "2": 0.0}
    monkeypatch.setattr("lightning_modules.crowding.time.perf_counter", lambda: clock)
    monkeypatch.setattr("lightning_modules.crowding.run_delays", lambda: delays)
    crowding = Crowding()
    clock, delays = 104.0, {"1": 11.0, "2": 0.0, "3": 7.0}
    assert crowding.waits() == [0.25, 0.0, 0.0], "nobody knows when the third began"
    crowding.restart()
    clock, delays = 106.0, {"1": 12.0, "3": 8.0}
    assert crowding.waits() == [0.5, 0.5]


def test_where_nobody_knows_there_is_nothing_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_modules.crowding.TASKS", tmp_path / "none")
    assert Crowding().waits() == []
