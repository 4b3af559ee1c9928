import csv
import tracemalloc
from pathlib import Path

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


def test_rows_that_are_not_whole_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    names = ",".join(f"n{number:04}" for number in range(10_000))
    path.write_text(f"{names},step\n" + "0\n" * 5_000 + "1," * 10_000 + "0\n")
    tracemalloc.start()
    try:
        write(tmp_path, [({"n0001": 2.0}, 1)])
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert [row["n0001"] for row in rows(tmp_path)] == ["1", "2.0"]
