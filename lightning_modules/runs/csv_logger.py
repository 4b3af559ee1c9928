"""A CSV log that a resumed run continues."""

import codecs
import csv
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from glow_app.files import atomic_file

# Limits for files of unknown origin: every new row would have as many columns as the header.
MOST_COLUMNS = 1000
MOST_HEADER = 2**20  # characters


class AppendingCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` into a run's folder; a resumed run continues the file at its first logged step.

    Rows from that step on were logged after the checkpoint was saved; they are dropped and logged again. The file is
    replaced atomically, while Lightning's logger deletes that of an earlier run.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")
        self._experiment = self._writer = _Writer(self.log_dir)
        self._continues = bool(self._writer.metrics_keys)

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: the run's ``config.yaml`` has all hyperparameters."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Log a row; before the first row, drop existing rows from its step on."""
        if self._continues and step is not None:
            self._writer.rewrite(lambda row: _step(row) < step)
            self._continues = False
        super().log_metrics(metrics, step)


class _Writer(ExperimentWriter):
    """Appends to an existing file."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._path = Path(self.metrics_file_path)
        with suppress(FileNotFoundError), self._path.open(newline="") as file:
            self.metrics_keys = next(csv.reader([file.readline(MOST_HEADER)]), [])
        if len(self.metrics_keys) > MOST_COLUMNS:
            raise ValueError(
                f"{self._path} has {len(self.metrics_keys):,} columns; expected at most {MOST_COLUMNS:,}: no run of "
                "glow fit wrote it; move it away and resume again"
            )

    def rewrite(self, keep: Callable[[dict[str, str]], bool], names: Sequence[str] | None = None) -> None:
        """Keep the complete rows for which ``keep`` is true, with columns ``names`` (the file's own if None)."""
        with self._path.open(newline="") as file, atomic_file(self._path) as new_file:
            rows = csv.reader(file)
            columns = next(rows, [])
            writer = csv.DictWriter(codecs.getwriter("utf-8")(new_file), names or columns)
            writer.writeheader()
            for values in rows:
                row = dict(zip(columns, values, strict=False))
                if values and len(values) == len(columns) and keep(row):
                    writer.writerow(row)

    def _check_log_dir_exists(self) -> None:
        """Do nothing: the base class would delete the file."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.rewrite(lambda _: True, fieldnames)


def _step(row: dict[str, str]) -> int:
    text = row.get("step", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0
