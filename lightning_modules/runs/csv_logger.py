"""A CSV log that survives a resume."""

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

# A file from elsewhere with more columns than any run has would make every row of the log as wide.
MOST_COLUMNS = 1000
MOST_HEADER = 2**20  # characters


class AppendingCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` straight into a run's folder and, on a resume, continues at the first step of this run.

    Rows of that step and later ones come from a run that was stopped after its last checkpoint, and are written again.
    The file is replaced as a whole or not at all, while Lightning's own logger deletes that of an earlier run.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")
        self._experiment = self._writer = _Writer(self.log_dir)
        self._continues = bool(self._writer.metrics_keys)

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: the run's ``config.yaml`` holds them all."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Log a row; before the first one, drop the rows of its step and later ones."""
        if self._continues and step is not None:
            self._writer.rewrite(lambda row: _step(row) < step)
            self._continues = False
        super().log_metrics(metrics, step)


class _Writer(ExperimentWriter):
    """Appends to the file that is there."""

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
        """Replace the file by those rows of it that are complete and to be kept, under the given columns."""
        with self._path.open(newline="") as file, atomic_file(self._path) as new:
            rows = csv.reader(file)
            columns = next(rows, [])
            writer = csv.DictWriter(codecs.getwriter("utf-8")(new), names or columns)
            writer.writeheader()
            for values in rows:
                row = dict(zip(columns, values, strict=False))
                if values and len(values) == len(columns) and keep(row):
                    writer.writerow(row)

    def _check_log_dir_exists(self) -> None:
        """Leave the file, which the base class would delete."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.rewrite(lambda _: True, fieldnames)


def _step(row: dict[str, str]) -> int:
    text = row.get("step", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0
