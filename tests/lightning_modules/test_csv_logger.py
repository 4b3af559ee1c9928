import csv
from pathlib import Path

import pytest
from traced_memory import memory_below

from lightning_modules.runs.csv_logger import AppendingCSVLogger


def write(folder: Path, rows: list[tuple[dict[str, float], int]]) -> None:
    logger = AppendingCSVLogger(str(folder))
    for metrics, step in rows:
        logger.log_metrics({**metrics}, step)
    logger.save()


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_straight_into_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "run", [({"train/bpd": 4.5}, 0), ({"val/bpd": 4.25}, 1)])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]
    assert [row["train/bpd"] for row in rows(tmp_path / "run")] == ["4.5", ""]
    assert [row["val/bpd"] for row in rows(tmp_path / "run")] == ["", "4.25"]


def test_an_earlier_part_is_kept(tmp_path: Path) -> None:
    write(tmp_path, [({"lr": 0.5}, 0), ({"train/bpd": 4.5}, 0)])
    before = rows(tmp_path)
    write(tmp_path, [({"lr": 0.25}, 1), ({"train/bpd": 4.0}, 1)])
    assert rows(tmp_path)[:2] == before
    assert [row["lr"] for row in rows(tmp_path)] == ["0.5", "", "0.25", ""]
    assert [row["step"] for row in rows(tmp_path)] == ["0", "0", "1", "1"]


def test_columns_that_come_later_join_the_earlier_rows(tmp_path: Path) -> None:
    write(tmp_path, [({"lr": 0.5}, 0)])
    write(tmp_path, [({"lr": 0.25, "val/bpd": 4.0}, 1)])
    write(tmp_path, [({"grad_norm": 1.0}, 2)])
    found = rows(tmp_path)
    assert [row["lr"] for row in found] == ["0.5", "0.25", ""]
    assert [row["val/bpd"] for row in found] == ["", "4.0", ""]
    assert [row["grad_norm"] for row in found] == ["", "", "1.0"]


def test_a_run_that_logs_nothing_leaves_the_log(tmp_path: Path) -> None:
    write(tmp_path, [({"lr": 0.5}, 0)])
    before = rows(tmp_path)
    logger = AppendingCSVLogger(str(tmp_path))
    logger.log_hyperparams({"a": 1})
    assert logger.experiment is not None
    assert rows(tmp_path) == before


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").touch()
    write(tmp_path, [({"lr": 0.5}, 3)])
    assert rows(tmp_path) == [{"lr": "0.5", "step": "3"}]


def test_rows_that_are_not_whole_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    names = ",".join(f"n{number:04}" for number in range(999))
    path.write_text(f"{names},step\n" + "0\n" * 50_000 + "1," * 999 + "0\n")
    with memory_below(1e6):
        write(tmp_path, [({"n0001": 2.0}, 1)])
    assert [row["n0001"] for row in rows(tmp_path)] == ["1", "2.0"]


def test_columns_that_no_run_has_are_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(",".join(map(str, range(100_000))) + "\n")
    with pytest.raises(ValueError, match=r"metrics.csv has 100,000 columns; expected at most 1,000"):
        write(tmp_path, [({"lr": 0.5}, 1)])


def test_a_rewrite_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [({"lr": 0.5}, 0), ({"lr": 0.25}, 1)])
    before = rows(tmp_path)
    monkeypatch.setattr(csv.DictWriter, "writerow", lambda *_: 1 / 0)
    for metrics, step in [({"lr": 1.0}, 1), ({"grad_norm": 1.0}, 2)]:
        with pytest.raises(ZeroDivisionError):
            write(tmp_path, [(metrics, step)])
    assert rows(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
