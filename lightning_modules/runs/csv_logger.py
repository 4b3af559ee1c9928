"""A CSV log that survives a resume."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

__all__ = ["AppendingCSVLogger"]


class AppendingCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` straight into a run's folder and, on a resume, goes on at the step that comes first.

    Rows of that step and later ones are of a run that was stopped after its last checkpoint, and are written again.
    Lightning's own logger deletes the file of an earlier run in the same folder.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="")
        self._path = Path(folder) / "metrics.csv"
        self._earlier = self._path.read_text() if self._path.exists() else ""

    def log_hyperparams(self, params: Any = None) -> None:
        """Do nothing: the run's ``config.yaml`` holds them all."""

    @property
    def experiment(self) -> Any:
        """The writer; created on first use."""
        created = self._experiment is None
        writer = super().experiment
        if created and self._earlier:  # which the writer has deleted
            self._path.write_text(self._earlier)
            writer.metrics_keys = next(csv.reader(self._earlier.splitlines()))
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Log a row; before the first one, drop what an earlier run logged at its step and later."""
        names = self.experiment.metrics_keys
        if self._earlier and step is not None:
            rows = csv.reader(self._earlier.splitlines())
            with self._path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(next(rows))
                for row in rows:  # one at a time, and whole ones: filled up, short ones could take all memory
                    if len(row) == len(names) and _step(row, names) < step:
                        writer.writerow(row)
            self._earlier = ""
        super().log_metrics(metrics, step)


def _step(row: list[str], names: list[str]) -> int:
    text = row[names.index("step")] if "step" in names else ""
    return int(text) if text.isdecimal() and len(text) < 20 else 0
